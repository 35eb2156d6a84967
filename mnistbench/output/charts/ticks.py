"""Round numbers for an axis: at least two that lie in its range."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

_ROUND = (0, 20, 50, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.8, 99.9, 100)
_FEW = 3


def linear_ticks(low: float, high: float, at_most: int, *, whole: bool = False) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, `at_most` so many where two are among them.

    With `whole` they are whole numbers, if three of these lie in the range.
    """
    whole = whole and math.floor(high) - math.ceil(low) > 1
    first = math.floor(math.log10((high - low) / at_most))
    steps = [factor * 10.0**power for power in range(first, first + 4) for factor in (1, 2, 5)]
    found: list[float] = []
    for step in steps:
        if whole and step < 1:
            continue
        coarser = _multiples(step, low, high)
        if len(coarser) < 2:
            break
        found = coarser
        if len(found) <= at_most:
            break
    return found


def log_ticks(low: float, high: float, at_most: int) -> list[float]:
    """Powers of ten, or 1, 2 and 5 times these, or what `linear_ticks` has in a narrow range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = _within((10.0**power for power in powers), low, high)
    if len(decades) > at_most:
        return decades[:: -(-len(decades) // at_most)]
    finer = _within((factor * 10.0**power for power in powers for factor in (1, 2, 5)), low, high)
    if len(decades) >= _FEW and len(finer) > at_most:
        return decades
    return finer if len(finer) >= _FEW else linear_ticks(low, high, at_most)


def error_ticks(
    low: float, high: float, at_most: int, place: Callable[[float], float]
) -> list[float]:
    """Round accuracies [%] that `place` sets apart, or more exact ones in a narrow range."""
    apart = 0.8 / at_most
    found = spread_out(_within(_ROUND, low, high), place, apart=apart)
    if len(found) >= _FEW:
        return found
    exact = linear_ticks(low, min(high, 100.0), at_most)
    kept = spread_out(exact, place, apart=apart)
    return max(found, kept, exact[-2:], key=len)


def spread_out(
    values: Sequence[float], place: Callable[[float], float], *, apart: float
) -> list[float]:
    """The `values`, which ascend, whose places are so far `apart`, the last first."""
    kept: list[float] = []
    for value in reversed(values):
        if not kept or place(kept[-1]) - place(value) >= apart:
            kept.append(value)
    return kept[::-1]


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step), math.floor(high / step)
    return _within((float(f"{k * step:.12g}") for k in range(first, last + 1)), low, high)


def _within(values: Iterable[float], low: float, high: float) -> list[float]:
    return [float(value) for value in values if low <= value <= high]
