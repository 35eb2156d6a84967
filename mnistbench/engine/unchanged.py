"""Work that leaves no trace: in a network, its optimizer, random numbers, Python's variables.

What code keeps in variables of Python's, a compiled or captured step does not change.
"""

from __future__ import annotations

import gc
import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (int, float, str, bytes, type(None))
_DATA = (*_PLAIN, dict, list, tuple, set, frozenset, deque)


@contextmanager
def unchanged(model: nn.Module, loss_fn: object, *, device: torch.device) -> Iterator[None]:
    """Put back weights, buffers, other tensors held, gradients and random states."""
    held = (*model.parameters(), *model.buffers(), *held_tensors(model, loss_fn))
    tensors = list({id(tensor): tensor for tensor in held}.values())
    before = [tensor.detach().clone() for tensor in tensors]
    with preserved_rng(device):
        yield
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
    for weight in model.parameters():
        weight.grad = None


@torch.no_grad()
def zero_state(optimizer: torch.optim.Optimizer) -> None:
    """Have the state of `optimizer` as it begins, where that is zeros, in place."""
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()


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


@contextmanager
def nothing_changed(*roots: object) -> Iterator[None]:
    """Raise `RuntimeError` where a step changes Python's variables: they would be constants."""
    before = python_state(*roots)
    yield
    if python_state(*roots) != before:
        raise RuntimeError("each step of the model or the loss changes a variable of Python's")


def python_state(*roots: object) -> list[object]:
    """Numbers, texts and addresses of tensors in `roots`, in what these hold, and what they read.

    The states of Python's and NumPy's random numbers are among them, and where tensors are on a
    device, those of torch's on the host; values of tensors are not.
    """
    numpy = np.random.get_state()  # noqa: NPY002 users draw from it
    found = list(_leaves(*roots, random.getstate(), numpy))
    if any(isinstance(value, Tensor) and value.device.type != "cpu" for value in found):
        found.append(torch.get_rng_state().numpy().tobytes())
    return [id(value) if isinstance(value, Tensor) else value for value in found]


def held_tensors(*roots: object) -> list[Tensor]:
    """Tensors in `roots`, in what these hold, and in what their code reads; of views, none."""
    found = (value for value in _leaves(*roots) if isinstance(value, Tensor))
    return [tensor for tensor in found if tensor.is_contiguous()]


def _leaves(*roots: object) -> Iterator[object]:
    seen, left = set[int](), list(roots)
    while left:
        value = left.pop()
        if isinstance(value, _PLAIN):
            yield value
        elif isinstance(value, np.ndarray):
            yield value.tobytes()
        elif id(value) not in seen and not isinstance(value, type | ModuleType):
            seen.add(id(value))
            if isinstance(value, Tensor):
                yield value
            else:
                left += _read_by(value) if isinstance(value, FunctionType) else _held_by(value)


def _held_by(value: object) -> Iterable[object]:
    held = [getattr(value, "__dict__", None), *gc.get_referents(value)]
    return [*held, type(value).forward] if isinstance(value, nn.Module) else held


def _read_by(function: FunctionType) -> Iterable[object]:
    """Variables around `function`; of its module's, data, and what the same module defines."""
    module = function.__module__
    if module.partition(".")[0] == "torch":
        return ()
    read = map(function.__globals__.get, function.__code__.co_names)
    known = (
        one for one in read if isinstance(one, _DATA) or getattr(one, "__module__", "") == module
    )
    return [*(function.__closure__ or ()), *known]
