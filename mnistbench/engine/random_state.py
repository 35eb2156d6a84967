"""The states of the random number generators: the CPU's, and that of any kind of device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["device_rng_state", "preserved_rng", "set_device_rng_state"]


def device_rng_state(device: torch.device) -> Tensor | None:
    """The state of `device`'s own generator, uint8 on the CPU; none of the CPU itself."""
    if device.type == "cpu":
        return None
    state: Tensor = torch.get_device_module(device).get_rng_state(device)
    return state


def set_device_rng_state(state: Tensor | None, device: torch.device) -> None:
    """Set what `device_rng_state` gave."""
    if state is not None:
        torch.get_device_module(device).set_rng_state(state, device)


@contextmanager
def preserved_rng(device: torch.device) -> Iterator[None]:
    """Leave the generators of the CPU and of `device` as they were, whatever is drawn inside."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type=device.type):
        yield
