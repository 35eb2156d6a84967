"""What is known of one figure of one run, or of the runs of one configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median, stdev
from typing import NamedTuple, Self


class Reading(NamedTuple):
    """A figure above `low` and at most `high`, in the unit of its metric.

    Both are the same where it was measured. A time to a target lies between the last evaluation
    that missed it (0 where there is none) and the first that read it. `high` is infinite where the
    target was not reached by then (right-censored), and both are where it never could be.

    Both may be products with the median of `windows`, measurements of a factor that all readings
    of a configuration share, such as its seconds per step.
    """

    low: float
    high: float
    windows: tuple[float, ...] = ()

    @classmethod
    def of(cls, value: float) -> Self:
        """A figure that was measured."""
        return cls(value, value)

    def times(self, windows: Sequence[float]) -> Self:
        """The same multiplied by the median of `windows`."""
        factor = median(windows)
        return type(self)(self.low * factor, self.high * factor, tuple(windows))

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


def factor_error(readings: Sequence[Reading]) -> tuple[float, int]:
    """The standard error of the logarithm of the shared factor, and its degrees of freedom.

    Of a median, whose variance is that of a mean times pi / 2. It is 0 where `readings` have no
    windows, and infinite where there is only one; the largest where they do not share them.
    """
    found = [(0.0, 1)]
    for windows in {reading.windows for reading in readings if reading.windows}:
        n, logs = len(windows), [math.log(window) for window in windows]
        error = stdev(logs) * math.sqrt(math.pi / 2 / n) if n > 1 else math.inf
        found.append((error, max(n - 1, 1)))
    return max(found)


def factor_spread(readings: Sequence[Reading], *, confidence: float = 0.95) -> float:
    """Half the width of the interval of that logarithm, by Student's t."""
    error, freedom = factor_error(readings)
    if not error:
        return 0.0
    from scipy.special import stdtrit

    return error * float(stdtrit(freedom, (1 + confidence) / 2))


def with_spread(
    value: float, low: float | None, high: float | None, spread: float
) -> tuple[float | None, float | None]:
    """The ends of the interval of `value`, with a factor that is uncertain by `spread`.

    Logarithms of the two uncertainties add in squares (MOVER: Zou and Donner 2008). An end that is
    not known, or would have no bound, is ``None``.
    """

    def end(bound: float | None, sign: int) -> float | None:
        if not bound or not spread or value <= 0:
            return bound
        moved = math.exp(sign * math.hypot(math.log(bound / value), spread))
        return value * moved if 0 < moved < math.inf else None

    return end(low, -1), end(high, 1)


def with_factor(level: Level, readings: Sequence[Reading]) -> Level:
    """`level`, an estimate from `readings`, whose interval knows that their factor is uncertain."""
    spread = factor_spread(readings)
    if level.value is None and level.low is not None:
        return level._replace(low=level.low * math.exp(-spread))
    low, high = with_spread(level.value or 0.0, level.low, level.high, spread)
    return level._replace(low=low, high=high)
