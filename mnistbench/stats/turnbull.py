"""The median of figures of which only two ends are known: Turnbull's estimate (1976)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mnistbench.stats.readings import Reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Numbers: TypeAlias = NDArray[np.float64]


_AFTER_IT, _AT_IT, _JUST_BEFORE = 2, 1, 0
_ROUNDS = 2000
_CLOSE = 1e-5
"""By so much at most lies the mean log-likelihood of a figure below the greatest."""
_ROUNDING = 1e-4


class _Innermost(NamedTuple):
    """Where alone a most likely curve can fall: above `left[j]` and at most `right[j]`.

    Reading i spans those from `first[i]` to before `last[i]`.
    """

    left: list[float]
    right: list[float]
    first: list[int]
    last: list[int]


def turnbull_median(readings: Sequence[Reading]) -> float | None:
    """Where half of the figures are passed, each known to lie above its low and at most its high.

    The nonparametric maximum-likelihood estimate of Turnbull (1976), by self-consistency; that of
    Kaplan and Meier (1958) where all are exact or have no upper end. Inside an interval in which
    the curve falls it is a straight line; where it rests at one half, the median is the middle.

    Args:
        readings: one or more, with finite lower ends.

    Returns:
        The median in the unit of the readings, or None if half of them have no upper end.
    """
    found = _innermost(readings)
    passed, before = _share_passed(found), 0.0
    steps = list(zip(found.left, found.right, passed, strict=True))
    for index, (left, right, after) in enumerate(steps):
        if after < 0.5 - _ROUNDING:
            before = after
        elif not math.isfinite(right):
            return None
        elif after > 0.5 + _ROUNDING:
            return left + (right - left) * (0.5 - before) / (after - before)
        else:
            going_on = (step for step in steps[index + 1 :] if step[2] > 0.5 + _ROUNDING)
            start, end, _ = next(going_on, (right, right, 1.0))
            return (right + start) / 2 if math.isfinite(end) else right
    return None


def _innermost(readings: Sequence[Reading]) -> _Innermost:
    """A left end with a right end next to it, of all readings' ends in order."""
    lefts = [(r.low, _JUST_BEFORE if r.low == r.high else _AFTER_IT) for r in readings]
    rights = [(r.high, _AT_IT) for r in readings]
    ends = sorted({*lefts, *rights})
    ahead: dict[tuple[float, int], int] = {}
    left, right = list[float](), list[float]()
    for here, following in zip(ends, [*ends[1:], None], strict=True):
        ahead[here] = len(left)
        if following is not None and here[1] != _AT_IT and following[1] == _AT_IT:
            left.append(here[0])
            right.append(following[0])
    return _Innermost(left, right, [ahead[end] for end in lefts], [ahead[end] for end in rights])


def _share_passed(found: _Innermost) -> list[float]:
    """The share of figures at or below the right end of each innermost interval."""
    import numpy as np

    n, size = len(found.first), len(found.left)
    share, ends = np.full(size, 1 / size), (np.array(found.first), np.array(found.last))
    for _ in range(_ROUNDS):
        below: _Numbers = np.concatenate([[0.0], share.cumsum()])
        weight = 1 / (below[ends[1]] - below[ends[0]])
        starts, stops = (np.bincount(end, weight, size + 1) for end in ends)
        factor = (starts - stops).cumsum()[:size] / n
        share = share * factor
        if factor.max() < 1 + _CLOSE:
            break
    passed: list[float] = share.cumsum().tolist()
    return passed
