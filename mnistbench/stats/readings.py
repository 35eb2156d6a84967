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


def ratio_spread(a: Sequence[float], b: Sequence[float], *, confidence: float) -> float:
    """The same of the medians' ratio; as many windows on both sides are those of rounds in turn.

    What drifts from round to round is then no part of it. Of independent windows it is right as
    well.
    """
    if len(a) == len(b):
        ratios = [y / x for x, y in zip(a, b, strict=True)]
        return factor_spread(ratios, confidence=confidence)
    return math.hypot(*(factor_spread(side, confidence=confidence) for side in (a, b)))


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
        if not bound or not spread or value <= 0:
            return bound
        return value * math.exp(sign * math.hypot(math.log(bound / value), spread))

    return end(low, -1), end(high, 1)


def with_factor(level: Level, readings: Sequence[Reading]) -> Level:
    """`level`, an estimate from `readings`, whose interval knows that their factor is uncertain."""
    spread = factor_spread(shared_windows(readings))
    if level.value is None and level.low is not None:
        return level._replace(low=level.low * math.exp(-spread))
    low, high = with_spread(level.value or 0.0, level.low, level.high, spread)
    return level._replace(low=low, high=high)
