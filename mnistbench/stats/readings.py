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


def factor_spread(windows: Sequence[float], *, confidence: float = 0.95) -> float:
    """Half the width of the interval of the logarithm of their median; 0 without windows.

    By Student's t, with pi / 2 times a mean's variance.
    """
    if not windows:
        return 0.0
    from scipy.special import stdtrit

    error = stdev(map(math.log, windows)) * math.sqrt(math.pi / 2 / len(windows))
    return error * float(stdtrit(len(windows) - 1, (1 + confidence) / 2))


def ratio_spread(a: Sequence[Reading], b: Sequence[Reading], *, confidence: float) -> float:
    """The same of the ratio of the factors of two configurations.

    As many windows on both sides are taken as those of rounds in turn, of which a drift from round
    to round is no part; of independent windows it is right as well.
    """
    sides = shared_windows(a), shared_windows(b)
    if len(sides[0]) == len(sides[1]):
        ratios = [y / x for x, y in zip(*sides, strict=True)]
        return factor_spread(ratios, confidence=confidence)
    return math.hypot(*(factor_spread(side, confidence=confidence) for side in sides))


def shared_windows(readings: Sequence[Reading]) -> tuple[float, ...]:
    """The windows of `readings`, of one configuration, whose runs share them."""
    return next((reading.windows for reading in readings if reading.windows), ())


def with_spread(
    value: float, low: float | None, high: float | None, spread: float
) -> tuple[float | None, float | None]:
    """The ends of the interval of `value`, with a factor that is uncertain by `spread`.

    Logarithms of the two uncertainties add in squares (MOVER: Zou and Donner 2008).
    """

    def end(bound: float | None, sign: int) -> float | None:
        return bound and value * math.exp(sign * math.hypot(math.log(bound / value), spread))

    return (end(low, -1), end(high, 1)) if spread and value > 0 else (low, high)


def with_factor(level: Level, readings: Sequence[Reading]) -> Level:
    """`level`, an estimate from `readings`, whose interval knows that their factor is uncertain."""
    middle, spread = level.value or level.low or 0.0, factor_spread(shared_windows(readings))
    low, high = with_spread(middle, level.low, level.high, spread)
    return level._replace(low=low, high=high)
