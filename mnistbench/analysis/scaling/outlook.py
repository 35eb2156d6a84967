"""How far more processes would gain, as the cost model predicts it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mnistbench.analysis.scaling.model import Setting
from mnistbench.analysis.scaling.prediction import Predicted, Predictor, Scaling

__all__ = ["MOST_PROCESSES", "NO_GAIN", "Outlook", "look_ahead"]

MOST_PROCESSES = 1024
"""Up to here is predicted."""

NO_GAIN = 1.05
"""Processes that save less than this factor are no gain."""


class Outlook(NamedTuple):
    """Predictions from one process upwards, and where they stop to gain.

    Attributes:
        scaling: strong where the global batch stays, weak where it grows with the processes.
        base_batch: samples of one process to start from.
        rows: for 1, 2, 4 and so on processes.
        in_time: whether gains count in time to the target; else in samples per second, as the
            steps to it are not known at all of these batches.
        lost_at: the batch at which they end as it was measured not to reach the target.
        useful: processes beyond which no more of them gain, with its 95 % interval.
    """

    scaling: Scaling
    base_batch: int
    rows: tuple[Predicted, ...]
    in_time: bool
    lost_at: int | None
    useful: int
    useful_low: int | None
    useful_high: int | None

    def efficiency(self, row: Predicted) -> float:
        """Samples per second of `row` for each process, over those of one alone."""
        first = self.rows[0].samples_per_s.value
        return row.samples_per_s.value / first / row.setting.num_processes


def look_ahead(
    predictor: Predictor, base: Setting, *, scaling: Scaling, num_train: int
) -> Outlook | None:
    """Predictions for 1, 2, 4 and so on up to 1,024 processes; ``None`` where there are none.

    Each process has cores of its own and the link of `base`. A fixed global batch ends at a sample
    for each process; a growing one at `num_train` samples, or before one that was measured not to
    reach the target though that of `base` does.
    """
    rows: list[Predicted] = []
    lost_at = None
    for count in (2**power for power in range(MOST_PROCESSES.bit_length())):
        batch = base.global_batch_size * (count if scaling == "weak" else 1)
        if count > batch or batch > num_train:
            break
        if rows and rows[0].steps and batch >= (predictor.steps.lost_from or math.inf):
            lost_at = predictor.steps.lost_from
            break
        row = predictor.predict(replace(base, num_processes=count, global_batch_size=batch))
        if row is not None:
            rows.append(row)
    if len(rows) < 2 or rows[0].setting.num_processes > 1:
        return None
    in_time = all(row.time_s is not None for row in rows)
    useful = _useful(predictor, rows, in_time=in_time)
    return Outlook(scaling, base.global_batch_size, tuple(rows), in_time, lost_at, *useful)


def _useful(
    predictor: Predictor, rows: Sequence[Predicted], *, in_time: bool
) -> tuple[int, int | None, int | None]:
    """From where on no more processes gain, and its interval over what other runs would give."""
    import numpy as np

    counts = [row.setting.num_processes for row in rows]
    costs = [row.time_s.value if row.time_s else 1 / row.samples_per_s.value for row in rows]
    if not in_time:
        costs = [1 / row.samples_per_s.value for row in rows]
    useful = counts[_first_good(costs)]
    drawn = [predictor.drawn_cost(row.setting, in_time=in_time) for row in rows]
    columns = [column for column in drawn if column is not None]
    if len(columns) < len(rows):
        return useful, None, None
    found = np.array([counts[_first_good(line)] for line in np.exp(columns).T.tolist()])
    low, high = np.quantile(found, [0.025, 0.975], method="inverted_cdf")
    return useful, min(useful, int(low)), max(useful, int(high))


def _first_good(costs: Sequence[float]) -> int:
    """The first that is within `NO_GAIN` of the best."""
    best = min(costs)
    return next((i for i, cost in enumerate(costs) if cost <= NO_GAIN * best), 0)
