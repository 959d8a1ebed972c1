"""The CAM++ network: from the features of an utterance to one vector.

Written from H. Wang, S. Zheng, Y. Chen, L. Cheng, Q. Chen, "CAM++: A Fast and Efficient Network for Speaker
Verification Using Context-Aware Masking", Interspeech 2023, and from the names of the tensors in the published
checkpoint.

Written for inference only. A batch norm that follows a convolution is folded into it. Frames come before channels, so
that every convolution over time is one matrix product, which takes half the time of the usual layout on one core.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from voiceauthd.embed.tensors import Tensors

FEATURES = 80
"""Filter bank channels. The head halves their number three times."""

EMBEDDING = 192

HEAD = 32
"""Channels of the two-dimensional convolutions in the head."""

GROWTH = 32
"""Channels that each dense layer adds to its input."""

BOTTLENECK = 4 * GROWTH
"""Channels between the two convolutions of a dense layer."""

TDNN = 128
"""Channels after the first convolution over time."""

BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Number of layers and dilation of each dense block. Its convolutions over time have three taps."""

SEGMENT = 100
"""Frames of a mask's local context: 2 s, since the first convolution over time turns 10 ms frames into 20 ms frames.
The rest of an utterance, or a shorter utterance, is also a segment."""


class Convolution2d:
    """A convolution over frames and frequencies, and the batch norm after it. `stride` is over frequencies."""

    def __init__(self, tensors: Tensors, conv: str, norm: str, inputs: int, stride: int) -> None:
        taps = 1 if "shortcut" in conv else 3
        # The checkpoint has frequency before time.
        kernel = tensors.take(f"{conv}.weight", HEAD, inputs, taps, taps).transpose(2, 3)
        scale, shift = tensors.norm(norm, HEAD)
        kernel = tensors.place(kernel * scale[:, None, None, None])
        self.kernel = kernel.contiguous(memory_format=torch.channels_last)
        self.bias = tensors.place(shift)
        self.stride = (1, stride)
        self.padding = taps // 2

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (batch, inputs, frames, frequencies) to (batch, HEAD, frames, frequencies / stride)."""
        return functional.conv2d(x, self.kernel, self.bias, self.stride, self.padding)


class Residual:
    """Two convolutions beside a shortcut."""

    def __init__(self, tensors: Tensors, name: str, stride: int) -> None:
        self.first = Convolution2d(tensors, f"{name}.conv1", f"{name}.bn1", HEAD, stride)
        self.second = Convolution2d(tensors, f"{name}.conv2", f"{name}.bn2", HEAD, 1)
        self.shortcut = None
        if stride != 1:
            shortcut = f"{name}.shortcut"
            self.shortcut = Convolution2d(tensors, f"{shortcut}.0", f"{shortcut}.1", HEAD, stride)

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (batch, HEAD, frames, frequencies) to (batch, HEAD, frames, frequencies / stride)."""
        y = self.second(self.first(x).relu_())
        return y.add_(x if self.shortcut is None else self.shortcut(x)).relu_()


class Head:
    """The front-end convolution module over frequency and time; it reduces the frequencies to an eighth."""

    def __init__(self, tensors: Tensors) -> None:
        self.first = Convolution2d(tensors, "head.conv1", "head.bn1", 1, 1)
        self.residuals = [
            Residual(tensors, f"head.layer{layer}.{unit}", stride)
            for layer in (1, 2)
            for unit, stride in enumerate((2, 1))
        ]
        self.last = Convolution2d(tensors, "head.conv2", "head.bn2", HEAD, 2)

    def __call__(self, features: Tensor) -> Tensor:
        """Shape (batch, frames, FEATURES) to (batch, frames, FEATURES / 8 · HEAD)."""
        x = features.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        x = self.first(x).relu_()
        for residual in self.residuals:
            x = residual(x)
        return self.last(x).relu_().permute(0, 2, 3, 1).flatten(2)


class TimeDelay:
    """The first convolution over time, five taps; it keeps every second frame."""

    def __init__(self, tensors: Tensors) -> None:
        frequencies = FEATURES // 8
        weight = tensors.take("xvector.tdnn.linear.weight", TDNN, HEAD * frequencies, 5)
        scale, shift = tensors.norm("xvector.tdnn.nonlinear.batchnorm", TDNN)
        # Inputs: from the checkpoint's (channel, frequency, tap) to the head's (frequency, channel, tap).
        weight = weight.reshape(TDNN, HEAD, frequencies, 5).transpose(1, 2).flatten(1)
        self.weight = tensors.place(weight * scale[:, None])
        self.bias = tensors.place(shift)

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (batch, frames, FEATURES / 8 · HEAD) to (batch, frames / 2 rounded up, TDNN)."""
        taps = functional.pad(x, (0, 0, 2, 2)).unfold(1, 5, 2)
        return functional.linear(taps.flatten(2), self.weight, self.bias).relu_()


class DenseLayer:
    """Reduces all channels so far to the bottleneck, then applies a convolution over time with a context-aware mask."""

    def __init__(self, tensors: Tensors, name: str, channels: int, dilation: int) -> None:
        before = tensors.norm(f"{name}.nonlinear1.batchnorm", channels)
        squeeze = tensors.take(f"{name}.linear1.weight", BOTTLENECK, channels, 1).squeeze(-1)
        scale, shift = tensors.norm(f"{name}.nonlinear2.batchnorm", BOTTLENECK)
        local = tensors.take(f"{name}.cam_layer.linear_local.weight", GROWTH, BOTTLENECK, 3)
        half = BOTTLENECK // 2
        mask = (
            tensors.take(f"{name}.cam_layer.linear1.weight", half, BOTTLENECK, 1).squeeze(-1),
            tensors.take(f"{name}.cam_layer.linear1.bias", half),
            tensors.take(f"{name}.cam_layer.linear2.weight", GROWTH, half, 1).squeeze(-1),
            tensors.take(f"{name}.cam_layer.linear2.bias", GROWTH),
        )
        self.scale, self.shift = (tensors.place(tensor) for tensor in before)
        self.squeeze = tensors.place(squeeze * scale[:, None])
        self.squeeze_bias = tensors.place(shift)
        self.local = tensors.place(local.transpose(1, 2).flatten(1))  # inputs: (tap, channel)
        self.mask = tuple(tensors.place(tensor) for tensor in mask)
        self.dilation = dilation

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (batch, frames, channels) to the (batch, frames, GROWTH) that this layer adds."""
        x = torch.addcmul(self.shift, x, self.scale).relu_()
        x = functional.linear(x, self.squeeze, self.squeeze_bias).relu_()
        frames, step = x.shape[1], self.dilation
        padded = functional.pad(x, (0, 0, step, step))
        taps = torch.cat([padded[:, tap * step : tap * step + frames] for tap in range(3)], -1)
        return functional.linear(taps, self.local).mul_(self._mask(x))

    def _mask(self, x: Tensor) -> Tensor:
        """Return the share of each channel to keep: mean of the utterance plus mean of the segment, through two layers.

        Shape (batch, frames, BOTTLENECK) to (batch, frames, GROWTH), 0 to 1, constant within a segment.
        """
        widen, widen_bias, narrow, narrow_bias = self.mask
        segments = torch.stack([x[:, i : i + SEGMENT].mean(1) for i in range(0, x.shape[1], SEGMENT)], 1)
        context = functional.linear(segments + x.mean(1, keepdim=True), widen, widen_bias).relu_()
        mask = functional.linear(context, narrow, narrow_bias).sigmoid_()
        return mask.repeat_interleave(SEGMENT, 1)[:, : x.shape[1]]


class DenseBlock:
    """Dense layers, each with the outputs of all earlier ones as input, and the transit that halves the channels."""

    def __init__(self, tensors: Tensors, number: int, channels: int) -> None:
        layers, dilation = BLOCKS[number - 1]
        self.inputs = channels
        self.layers = [
            DenseLayer(tensors, f"xvector.block{number}.tdnnd{i + 1}", channels + i * GROWTH, dilation)
            for i in range(layers)
        ]
        self.outputs = channels + layers * GROWTH
        norm = tensors.norm(f"xvector.transit{number}.nonlinear.batchnorm", self.outputs)
        transit = tensors.take(f"xvector.transit{number}.linear.weight", self.outputs // 2, self.outputs, 1)
        self.scale, self.shift = (tensors.place(tensor) for tensor in norm)
        self.transit = tensors.place(transit.squeeze(-1))

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (batch, frames, inputs) to (batch, frames, outputs / 2)."""
        batch, frames, width = x.shape
        grown = x.new_empty(batch, frames, self.outputs)
        grown[..., :width] = x
        for layer in self.layers:
            grown[..., width : width + GROWTH] = layer(grown[..., :width])
            width += GROWTH
        return functional.linear(torch.addcmul(self.shift, grown, self.scale).relu_(), self.transit)


class CamPlusPlus:
    """The complete network, made from the tensors of a checkpoint.

    Raises `ModelError` for tensors of any other network.
    """

    def __init__(self, tensors: Tensors) -> None:
        self.head = Head(tensors)
        self.tdnn = TimeDelay(tensors)
        self.blocks = []
        channels = TDNN
        for number in range(1, len(BLOCKS) + 1):
            block = DenseBlock(tensors, number, channels)
            self.blocks.append(block)
            channels = block.outputs // 2
        norm = tensors.norm("xvector.out_nonlinear.batchnorm", channels)
        self.scale, self.shift = (tensors.place(tensor) for tensor in norm)
        # The last batch norm has no affine terms, and no rectifier follows it: a rectifier would remove the negative
        # half of every coordinate and so raise the cosine of any two strangers.
        dense = tensors.take("xvector.dense.linear.weight", EMBEDDING, 2 * channels, 1).squeeze(-1)
        scale, shift = tensors.norm("xvector.dense.nonlinear.batchnorm", EMBEDDING, affine=False)
        self.dense = tensors.place(dense * scale[:, None])
        self.dense_bias = tensors.place(shift)
        tensors.finish()

    def __call__(self, features: Tensor) -> Tensor:
        """Shape (batch, frames, FEATURES) to (batch, EMBEDDING), not of unit length. At least three frames."""
        x = self.tdnn(self.head(features))
        for block in self.blocks:
            x = block(x)
        x = torch.addcmul(self.shift, x, self.scale).relu_()
        statistics = torch.cat((x.mean(1), x.std(1)), -1)
        return functional.linear(statistics, self.dense, self.dense_bias)
