"""A reference implementation of CAM++: torch's layers in the order and layout of the paper, nothing folded.

The tests compare the daemon's network with it. The names of the layers are those of the published checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURE_DIM = 80
"""Filter bank channels; must be divisible by 8."""

EMBEDDING_DIM = 192

HEAD_CHANNELS = 32
"""Channels of the two-dimensional convolutions before the time-delay layer."""

GROWTH = 32
"""Channels that each dense layer adds to its input."""

BOTTLENECK = 4 * GROWTH
"""Channels between the two convolutions of a dense layer."""

BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Number of layers and dilation of each dense block; its convolutions over time have `KERNEL` taps."""

KERNEL = 3

TDNN_CHANNELS = 128

SEGMENT = 100
"""Frames of the mask's local context. The first time-delay layer halves the 10 ms frames, so this is 2 s; the rest of
an utterance, or a shorter utterance, is also a segment."""


class ResidualUnit(nn.Module):
    """Two 3 × 3 convolutions over (frequency, time) beside a shortcut; `stride` is over frequencies only."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, (stride, 1), 1, bias=False)
        self.bn1 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.conv2 = nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 1, (stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(HEAD_CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, HEAD_CHANNELS, frequencies, frames), in and out; frequencies divided by the stride."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Head(nn.Module):
    """The front-end convolution module over frequency and time; it reduces the frequencies to an eighth."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, HEAD_CHANNELS, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.layer1 = nn.Sequential(ResidualUnit(2), ResidualUnit(1))
        self.layer2 = nn.Sequential(ResidualUnit(2), ResidualUnit(1))
        self.conv2 = nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, (2, 1), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(HEAD_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, FEATURE_DIM, frames) to (batch, HEAD_CHANNELS · FEATURE_DIM / 8, frames)."""
        x = functional.relu(self.bn1(self.conv1(x.unsqueeze(1))))
        x = self.layer2(self.layer1(x))
        x = functional.relu(self.bn2(self.conv2(x)))
        return x.flatten(1, 2)


class ContextMask(nn.Module):
    """A convolution over time with a mask computed from the whole utterance and the segment around each frame."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            BOTTLENECK, GROWTH, KERNEL, padding=dilation * (KERNEL // 2), dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(BOTTLENECK, BOTTLENECK // 2, 1)
        self.linear2 = nn.Conv1d(BOTTLENECK // 2, GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, BOTTLENECK, frames) to (batch, GROWTH, frames)."""
        segments = functional.avg_pool1d(x, SEGMENT, SEGMENT, ceil_mode=True)
        segments = segments.repeat_interleave(SEGMENT, -1)[..., : x.shape[-1]]
        context = functional.relu(self.linear1(x.mean(-1, keepdim=True) + segments))
        return self.linear_local(x) * torch.sigmoid(self.linear2(context))


class DenseLayer(nn.Module):
    """One layer of a dense block: reduce all channels so far to the bottleneck, then the masked convolution."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = nonlinear(channels)
        self.linear1 = nn.Conv1d(channels, BOTTLENECK, 1, bias=False)
        self.nonlinear2 = nonlinear(BOTTLENECK)
        self.cam_layer = ContextMask(dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, channels, frames) to the GROWTH channels that this layer adds."""
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class DenseBlock(nn.Module):
    """Dense layers, each with the outputs of all earlier ones as input."""

    def __init__(self, channels: int, layers: int, dilation: int) -> None:
        super().__init__()
        for layer in range(layers):
            self.add_module(f"tdnnd{layer + 1}", DenseLayer(channels + layer * GROWTH, dilation))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, channels, frames) to (batch, channels + layers · GROWTH, frames)."""
        for layer in self.children():
            x = torch.cat((x, layer(x)), 1)
        return x


class TimeDelay(nn.Module):
    """The first convolution over time; it halves the frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, TDNN_CHANNELS, 5, stride=2, padding=2, bias=False)
        self.nonlinear = nonlinear(TDNN_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, channels, frames) to (batch, TDNN_CHANNELS, frames / 2 rounded up)."""
        return self.nonlinear(self.linear(x))


class Transit(nn.Module):
    """Halves the channels between two dense blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = nonlinear(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, channels, frames) to (batch, channels / 2, frames)."""
        return self.linear(self.nonlinear(x))


class Dense(nn.Module):
    """The last layer. Its batch norm has no affine terms, and no rectifier follows: a rectifier would remove all
    negative coordinates and raise the cosine of any two strangers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, EMBEDDING_DIM, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(EMBEDDING_DIM, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, channels) to (batch, EMBEDDING_DIM)."""
        return self.nonlinear(self.linear(x.unsqueeze(-1)).squeeze(-1))


class CamPlusPlus(nn.Module):
    """The complete network."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Head()
        self.xvector = nn.Sequential()
        self.xvector.add_module("tdnn", TimeDelay(HEAD_CHANNELS * FEATURE_DIM // 8))
        channels = TDNN_CHANNELS
        for number, (layers, dilation) in enumerate(BLOCKS, 1):
            self.xvector.add_module(f"block{number}", DenseBlock(channels, layers, dilation))
            channels += layers * GROWTH
            self.xvector.add_module(f"transit{number}", Transit(channels))
            channels //= 2
        self.xvector.add_module("out_nonlinear", nonlinear(channels))
        self.xvector.add_module("stats", Statistics())
        self.xvector.add_module("dense", Dense(2 * channels))

    def forward(self, features: Tensor) -> Tensor:
        """Shape (batch, frames, FEATURE_DIM) to (batch, EMBEDDING_DIM), not scaled. At least four frames."""
        embeddings: Tensor = self.xvector(self.head(features.transpose(1, 2)))
        return embeddings


class Statistics(nn.Module):
    """Mean and standard deviation over time."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, channels, frames) to (batch, 2 · channels)."""
        return torch.cat((x.mean(-1), x.std(-1)), 1)


def nonlinear(channels: int) -> nn.Sequential:
    """Batch norm, then a rectifier."""
    layers = nn.Sequential()
    layers.add_module("batchnorm", nn.BatchNorm1d(channels))
    layers.add_module("relu", nn.ReLU())
    return layers
