"""The training losses of a run, on the device, written step by step without a wait."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LossHistory"]


class LossHistory:
    """This process's weighted losses, one per step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._windows: list[Tensor] = []

    def window(self, num_steps: int) -> Tensor:
        """Zeros ``[num_steps]``, to be filled with the losses of the steps to come."""
        self._windows.append(torch.zeros(num_steps, device=self._device))
        return self._windows[-1]

    def restore(self, losses: Tensor) -> None:
        """Take over the `losses` ``[n]`` of an earlier life of the run."""
        self._windows.append(losses)

    def until(self, step: int) -> Tensor:
        """The losses of all steps before `step`, ``[step]``."""
        if len(self._windows) > 1:
            self._windows = [torch.cat(self._windows)]
        return self._windows[0][:step] if self._windows else torch.zeros(0, device=self._device)
