"""Named tensors out of a checkpoint, each taken once: what is missing, of another shape or left over is refused."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from voiceauthd.errors import ModelError

EPSILON = 1e-5
"""What batch norms add to a variance, as trained."""


class Tensors:
    """The tensors of a checkpoint while a network is made of them.

    They are handed out in double precision on the CPU, so that folding rounds once, when the result is put in place.
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        self._device = device
        # How many batches a batch norm saw in training; it has no part in the network.
        self._left = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor of that name and shape, float64. Raises `ModelError` if there is none."""
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise ModelError(f"this is no CAM++ checkpoint: {name} is missing", "wrong_architecture")
        if tensor.shape != shape:
            found = f"{name} has shape {tuple(tensor.shape)}, not {shape}"
            raise ModelError(f"this is no CAM++ checkpoint: {found}", "wrong_architecture")
        return tensor.to("cpu", torch.float64)

    def norm(self, name: str, channels: int, *, affine: bool = True) -> tuple[Tensor, Tensor]:
        """The batch norm of that name as the scale and the shift that it is once trained, each of shape (channels,)."""
        mean = self.take(f"{name}.running_mean", channels)
        scale = (self.take(f"{name}.running_var", channels) + EPSILON).rsqrt()
        if not affine:
            return scale, -mean * scale
        scale *= self.take(f"{name}.weight", channels)
        return scale, self.take(f"{name}.bias", channels) - mean * scale

    def place(self, tensor: Tensor) -> Tensor:
        """What the network keeps: float32, on the device that it runs on."""
        return tensor.to(self._device, torch.float32).contiguous()

    def finish(self) -> None:
        """Raises `ModelError` if anything was not taken: then it is another network."""
        if self._left:
            raise ModelError(f"this is no CAM++ checkpoint: unknown tensor {min(self._left)}", "wrong_architecture")
