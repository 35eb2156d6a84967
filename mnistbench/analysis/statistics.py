"""Estimates with their intervals: pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

__all__ = ["Estimate", "mean_interval"]


class Estimate(NamedTuple):
    """A mean over `n` runs and half the width of its interval; no width for a single run."""

    mean: float
    half_width: float | None
    n: int


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Student's t interval of the mean of independent `values` (Gosset 1908).

    Raises:
        ValueError: no values, or `confidence` outside (0, 1).
    """
    if not values or not 0 < confidence < 1:
        raise ValueError("needs at least one value and a confidence between 0 and 1")
    n = len(values)
    if n == 1:
        return Estimate(values[0], None, 1)
    from scipy.special import stdtrit  # scipy.stats would cost a report half a second

    t = float(stdtrit(n - 1, (1 + confidence) / 2))
    return Estimate(fmean(values), t * stdev(values) / math.sqrt(n), n)
