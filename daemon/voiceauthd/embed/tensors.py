"""The tensors of a CAM++ checkpoint, each taken once: missing, misshapen and unused ones are refused."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from voiceauthd.errors import ModelError

EPSILON = 1e-5
"""Added to the variance by batch norms, as in training."""


class Tensors:
    """The tensors of a checkpoint while a network is made from them.

    They are returned in double precision on the CPU, so that folded values are rounded once, in `place`.
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        self._device = device
        # The number of training batches of a batch norm is not used in inference.
        self._left = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}

    def take(self, name: str, *shape: int) -> Tensor:
        """Return the tensor of this name and shape, float64. Raises `ModelError` if there is none."""
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise ModelError(f"this is not a CAM++ checkpoint: {name} is missing", "wrong_architecture")
        if tensor.shape != shape:
            found = f"{name} has shape {tuple(tensor.shape)}, not {shape}"
            raise ModelError(f"this is not a CAM++ checkpoint: {found}", "wrong_architecture")
        return tensor.to("cpu", torch.float64)

    def norm(self, name: str, channels: int, *, affine: bool = True) -> tuple[Tensor, Tensor]:
        """Return the scale and shift that a trained batch norm applies, each of shape (channels,)."""
        mean = self.take(f"{name}.running_mean", channels)
        scale = (self.take(f"{name}.running_var", channels) + EPSILON).rsqrt()
        if not affine:
            return scale, -mean * scale
        scale *= self.take(f"{name}.weight", channels)
        return scale, self.take(f"{name}.bias", channels) - mean * scale

    def place(self, tensor: Tensor) -> Tensor:
        """Return the tensor as float32 on the network's device."""
        return tensor.to(self._device, torch.float32).contiguous()

    def finish(self) -> None:
        """Raises `ModelError` if a tensor was not taken: the checkpoint is another network's."""
        if self._left:
            raise ModelError(f"this is not a CAM++ checkpoint: unknown tensor {min(self._left)}", "wrong_architecture")
