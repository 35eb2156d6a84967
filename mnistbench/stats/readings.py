"""What is known of one figure of one run, or of the runs of one configuration."""

from __future__ import annotations

import math
from typing import NamedTuple, Self


class Reading(NamedTuple):
    """A figure above `low` and at most `high`, in the unit of its metric.

    Both are the same where it was measured. A time to a target lies between the last evaluation
    that missed it (0 where there is none) and the first that read it. `high` is infinite where the
    target was not reached by then (right-censored), and both are where it never could be.
    """

    low: float
    high: float

    @classmethod
    def of(cls, value: float) -> Self:
        """A figure that was measured."""
        return cls(value, value)

    @property
    def reached(self) -> bool:
        """Whether there is an upper end."""
        return math.isfinite(self.high)

    @property
    def value(self) -> float:
        """The upper end or, of what was not reached, the lower one."""
        return self.high if self.reached else self.low


class Level(NamedTuple):
    """An estimate from `n` independent runs, of which `reached` got to what is timed.

    `low` and `high` are the ends of its spread. ``None``: not measured, or not reached by half of
    the runs; for an end, that the runs cannot give it. `above` and `at_most` are of times alone,
    the grain of the evaluations: with every time at its lower end the median would be the one,
    with every time at its upper end the other.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    reached: int
    above: float | None = None
    at_most: float | None = None
