"""What code keeps in Python's own variables, which a compiled or captured step does not change."""

from __future__ import annotations

import inspect
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FunctionType, MethodType, ModuleType

import numpy as np
from torch import Tensor, nn

__all__ = ["nothing_changed", "python_state"]

_PLAIN = (int, float, str, bytes, type(None))
_MANY = (list, tuple, set, frozenset, deque)


@contextmanager
def nothing_changed(*roots: object) -> Iterator[None]:
    """Check that a step inside leaves Python's variables, which would be constants, as they were.

    Raises:
        RuntimeError: it does not.
    """
    before = python_state(*roots)
    yield
    if python_state(*roots) != before:
        raise RuntimeError("each step of the model or the loss changes a variable of Python's")


def python_state(*roots: object) -> list[object]:
    """Numbers and texts in `roots`, in what these hold, and in variables that their code reads.

    The states of Python's and NumPy's random numbers are among them; tensors are not.
    """
    found, seen = list[object](), set[int]()
    left = [*roots, random.getstate(), np.random.get_state()]  # noqa: NPY002 users draw from it
    while left:
        value = left.pop()
        if isinstance(value, _PLAIN):
            found.append(value)
        elif id(value) not in seen and not isinstance(value, Tensor | type | ModuleType):
            seen.add(id(value))
            left += _held_by(value)
    return found


def _held_by(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, _MANY):
        return value
    if isinstance(value, FunctionType):
        return _read_by(value)
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    forward = [type(value).forward] if isinstance(value, nn.Module) else []
    return [*getattr(value, "__dict__", {}).values(), *forward]


def _read_by(function: FunctionType) -> Iterable[object]:
    """Variables around `function`; of those of its module, which may be a library's, only data."""
    if function.__module__.partition(".")[0] == "torch":
        return ()
    read = inspect.getclosurevars(function)
    data = (value for value in read.globals.values() if isinstance(value, (*_PLAIN, *_MANY, dict)))
    return [*read.nonlocals.values(), *data]
