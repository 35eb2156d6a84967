"""What can be compared between two sets of runs, and how each figure is read and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mnistbench.analysis.number_text import percent, seconds
from mnistbench.analysis.scoring import reading_to_target
from mnistbench.schema.record import RunRecord
from mnistbench.stats.readings import Reading

__all__ = ["METRICS", "Metric", "MetricName", "target_of"]

MetricName = Literal[
    "samples_per_s",
    "step_s_p50",
    "step_s_p95",
    "train_s",
    "train_eval_s",
    "wall_s",
    "time_to_accuracy_s",
    "steps_to_accuracy",
    "test_accuracy",
    "val_accuracy",
    "test_loss",
    "duration_s",
]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How one metric is read from a record, compared and shown.

    `read` takes the record and a target accuracy, or ``None`` for the run's own, and gives ``None``
    where nothing was measured. `ratio` compares logarithms, else differences count. `timed` figures
    depend on the machine's speed; `quality` is said to be higher or lower, all else faster or
    slower. `to_target` may be censored. `unit` follows a value, which `show` prints.
    """

    label: str
    read: Callable[[RunRecord, float | None], Reading | None]
    show: Callable[[float], str]
    unit: str = ""
    higher_is_better: bool = False
    ratio: bool = True
    timed: bool = True
    quality: bool = False
    to_target: bool = False

    def word(self, sign: float) -> Literal["faster", "slower", "higher", "lower"]:
        """What B is, if its figure is higher (`sign` above 0) or lower than A's."""
        if self.quality:
            return "higher" if sign > 0 else "lower"
        return "faster" if (sign > 0) == self.higher_is_better else "slower"


def target_of(record: RunRecord, target_accuracy: float | None) -> float | None:
    """`target_accuracy`, or the one that `record` was run with."""
    own = record.result.target_accuracy or record.config.get("target_accuracy")
    return own if target_accuracy is None else target_accuracy


def _of(value: Callable[[RunRecord], float | None]) -> Callable[..., Reading | None]:
    """Reads `value` of runs that completed: what others measured belongs to a shorter run."""

    def read(record: RunRecord, _target: float | None) -> Reading | None:
        found = value(record) if record.status == "completed" else None
        return None if found is None else Reading.of(found)

    return read


def _to_target(record: RunRecord, target: float | None, *, steps: bool = False) -> Reading | None:
    target = target_of(record, target)
    return None if target is None else reading_to_target(record, target, steps=steps)


def _train_eval_s(record: RunRecord) -> float | None:
    """The time that a speed record is told in."""
    train_s, eval_s = record.phases_s.get("train"), record.phases_s.get("eval")
    return None if train_s is None or eval_s is None else train_s + eval_s


def _ms(value_s: float) -> str:
    return f"{1000 * value_s:.3f}"


def _accuracy(label: str, value: Callable[[RunRecord], float | None]) -> Metric:
    return Metric(
        label=label,
        read=_of(value),
        show=percent,
        unit=" %",
        higher_is_better=True,
        ratio=False,
        timed=False,
        quality=True,
    )


METRICS: Mapping[MetricName, Metric] = {
    "samples_per_s": Metric(
        label="samples/s",
        read=_of(lambda r: r.throughput.samples_per_s),
        show=lambda x: f"{x:,.0f}",
        higher_is_better=True,
    ),
    "step_s_p50": Metric(
        label="step p50", read=_of(lambda r: r.throughput.step_s_p50), show=_ms, unit=" ms"
    ),
    "step_s_p95": Metric(
        label="step p95", read=_of(lambda r: r.throughput.step_s_p95), show=_ms, unit=" ms"
    ),
    "train_s": Metric(
        label="train time", read=_of(lambda r: r.phases_s.get("train")), show=seconds, unit=" s"
    ),
    "train_eval_s": Metric(
        label="train and eval time",
        read=_of(_train_eval_s),
        show=lambda x: f"{x:.3f}",
        unit=" s",
    ),
    "wall_s": Metric(label="wall time", read=_of(lambda r: r.wall_s), show=seconds, unit=" s"),
    "time_to_accuracy_s": Metric(
        label="time",
        read=_to_target,
        show=seconds,
        unit=" s",
        to_target=True,
    ),
    "steps_to_accuracy": Metric(
        label="steps",
        read=partial(_to_target, steps=True),
        show=lambda x: f"{x:,.0f}",
        timed=False,
        to_target=True,
    ),
    "test_accuracy": _accuracy("test accuracy", lambda r: r.result.test_accuracy),
    "val_accuracy": _accuracy("val accuracy", lambda r: r.result.val_accuracy),
    "test_loss": Metric(
        label="test loss",
        read=_of(lambda r: r.result.test_loss),
        show=lambda x: f"{x:.4g}",
        timed=False,
        quality=True,
    ),
    "duration_s": Metric(
        label="duration", read=lambda _record, _target: None, show=lambda x: f"{x:.4g}", unit=" s"
    ),
}
"""Every metric; ``duration_s`` is of pytest-benchmark's files alone."""
