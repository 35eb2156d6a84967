"""How many samples a batch has: the leading size of the first array that is found in it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from mnistbench.schema.errors import InputError

_DEEPEST = 8
"""Levels of lists and mappings inside each other."""


def leading_size(batch: Any) -> int | None:
    """The first size of the first tensor or array with one, in whatever holds it.

    Tuples, lists, mappings and dataclasses are searched in their order. ``None`` where there is no
    such array.
    """
    return next(_sizes(batch, _DEEPEST), None)


def differing_sizes(batch: Any) -> str | None:
    """What to say of a batch whose arrays do not all have the first one's `leading_size`."""
    found = list(dict.fromkeys(_sizes(batch, _DEEPEST)))
    if len(found) < 2:
        return None
    sizes = ", ".join(map(str, found[:5])) + ", …" * (len(found) > 5)
    return (
        f"num_samples: {found[0]} samples are counted in a batch with arrays of {sizes}; if that "
        "is wrong, give their number, or a function of the batch that counts them"
    )


def _sizes(batch: Any, levels: int) -> Iterator[int]:
    """The first sizes of all arrays in `batch`."""
    parts = _parts_of(batch)
    if parts is not None:
        for part in parts if levels else ():
            yield from _sizes(part, levels - 1)
    elif (size := _first_size(batch)) is not None:
        yield size


def _parts_of(value: Any) -> Iterable[Any] | None:
    """What `value` holds; ``None`` where it is nothing that holds others."""
    if isinstance(value, tuple | list):
        return value
    if isinstance(value, Mapping):
        return value.values()
    if is_dataclass(value) and not isinstance(value, type):
        return (getattr(value, field.name, None) for field in fields(value))
    return None


def _first_size(value: Any) -> int | None:
    try:
        size = value.shape[0]
    except (AttributeError, IndexError, RuntimeError, TypeError):  # as a nested tensor raises
        return None
    return size if isinstance(size, int) else None


def batch_counter(num_samples: int | Callable[[Any], int] | None) -> Callable[[Any], int]:
    """What counts the samples of a batch: `num_samples`, that function, or `leading_size`.

    Raises:
        InputError: it is no whole number from 0 on and no function; or later, what it gives is not.
    """
    if num_samples is None:
        return counted
    if callable(num_samples):
        count = num_samples
        return lambda batch: whole(count(batch), field="num_samples")
    constant = whole(num_samples, field="num_samples")
    return lambda _batch: constant


def counted(batch: Any) -> int:
    """Its `leading_size`.

    Raises:
        InputError: it holds no array.
    """
    # what most loaders give is found at once: between two steps the search is not in any cache
    first = batch[0] if type(batch) in {tuple, list} and batch else batch
    size = _first_size(first) if hasattr(first, "shape") else None
    if size is None and (size := leading_size(batch)) is None:
        raise InputError(
            f"num_samples: a batch of type {type(batch).__name__} holds no array with a size; "
            "write run.steps(loader, num_samples=64), or a function of the batch that counts them"
        )
    return size


def whole(value: Any, *, field: str, lowest: int = 0) -> int:
    """`value`, if it is a whole number from `lowest` on, or an array of one; else `InputError`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = lowest - 1
    if number < lowest or isinstance(value, bool):
        raise InputError(f"{field}: should be a whole number from {lowest} on (got {value!r})")
    return number
