"""What one process notes of a run while it trains, whoever's loop it is, and the record of that.

Our engine and `mnistbench.record` make their records of it: there is one author for clocks,
evaluations, the machine before and after, and how a run ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import quantiles
from typing import Any

from mnistbench.recorder.clock import Ledger, Timer
from mnistbench.recorder.telemetry import Telemeter
from mnistbench.schema.errors import InputError
from mnistbench.schema.insight import Profile, StepCosts, Telemetry
from mnistbench.schema.record import (
    Canary,
    CanaryReading,
    EvalPoint,
    Result,
    RunRecord,
    Status,
    Throughput,
    finite,
)
from mnistbench.schema.store import save_elsewhere, save_record
from mnistbench.schema.target import Target, is_loss, point_at_target


@dataclass(kw_only=True)
class Outcome:
    """How a run went, as far as it came; fields are those of its record."""

    status: Status = "completed"
    error: str | None = None
    canary: Canary | None = None
    telemetry: Telemetry | None = None
    step_costs: StepCosts | None = None
    profile: Profile | None = None

    def ended_by(self, stop: BaseException) -> None:
        """Note what ended the run before its end: a signal interrupted it, all else failed."""
        self.status = "interrupted" if isinstance(stop, KeyboardInterrupt) else "failed"
        self.error = f"{type(stop).__name__}: {stop}".rstrip(": ")


@dataclass(kw_only=True)
class RunLog:
    """What changes while a run trains, on one process; `step` is how many were made."""

    ledger: Ledger
    timer: Timer
    step: int = 0
    eval_points: list[EvalPoint] = field(default_factory=list)

    def evaluated(
        self,
        metrics: Mapping[str, float],
        *,
        split: str,
        samples_seen: int,
        train_s: float | None = None,
        **known: Any,
    ) -> EvalPoint:
        """Note an evaluation after the steps made so far; its time is in the phase ``eval`` by now.

        `metrics` may hold NaN and infinities: such are put down as ``None``, and one of a loss as
        a run that diverged. `train_s` is of the slowest process, by default of this one; `known`
        may have the point's ``epoch`` and ``num_samples``.
        """
        values = {name: finite(value) for name, value in metrics.items()}
        point = EvalPoint(
            step=self.step,
            samples_seen=samples_seen,
            train_s=self.ledger.train_s() if train_s is None else train_s,
            eval_s=self.ledger.spent_s("eval"),
            wall_s=self.ledger.wall_s(),
            split=split,
            loss=values.pop("loss", None),
            accuracy=values.pop("accuracy", None),
            metrics=values,
            diverged=not all(math.isfinite(metrics[name]) for name in metrics if is_loss(name)),
            **known,
        )
        self.eval_points.append(point)
        return point

    @contextmanager
    def watching(
        self,
        outcome: Outcome,
        *,
        telemeter: Telemeter | None,
        probe: Callable[[], CanaryReading | None],
    ) -> Iterator[None]:
        """Surround training: the machine is probed before and after, and its sensors are read."""
        before = probe()  # before the peak of memory is counted
        if telemeter:
            telemeter.begin()
        try:
            with self.ledger.watched():
                yield
        finally:
            outcome.telemetry = telemeter.reading() if telemeter else None
        after = probe()
        outcome.canary = Canary(before=before, after=after) if before and after else None


def throughput_of(
    durations_s: Sequence[float], *, num_samples: float, train_s: float, from_step: int = 1
) -> Throughput:
    """Speed over steps that took `durations_s`, on `num_samples` in `train_s` of the train clock.

    With several processes `num_samples` is of all, and the clock is the slowest's.
    """
    if not durations_s or not train_s:
        return Throughput(from_step=from_step)
    cuts = quantiles(durations_s, n=20, method="inclusive") if durations_s[1:] else durations_s
    return Throughput(
        from_step=from_step,
        samples_per_s=num_samples / train_s,
        step_s_p50=cuts[(len(cuts) - 1) // 2],
        step_s_p95=cuts[-1],
    )


def assemble_record(
    log: RunLog, outcome: Outcome, *, target: Target | None, split: str | None, **facts: Any
) -> RunRecord:
    """The record of a run as it stands; closes its ledger.

    `facts` are the fields of which neither `log` nor `outcome` knows, and go over what they do. The
    last values on `split` are the record's metrics, and when `target` was reached is found here.
    """
    points = log.eval_points
    if target and (reached := point_at_target(points, target)):
        target = target.model_copy(update={"time_s": reached.train_s, "steps": reached.step})
    wall_s = log.ledger.close()
    return RunRecord(
        **{field.name: getattr(outcome, field.name) for field in fields(Outcome)} | facts,
        num_steps=log.step,
        eval_points=points,
        metrics=_last_values([point for point in points if point.split == split]),
        target=target,
        phases_s=dict(log.ledger.phases_s),
        wall_s=wall_s,
        result=_result({point.split: point for point in points}, target),
    )


def save_somewhere(
    record: RunRecord,
    folder: Path,
    *,
    keep: Callable[[], None] = lambda: None,
    tell: Callable[[str], None],
    cleaned: Callable[[str], str] = str,
) -> tuple[RunRecord, Path]:
    """Save what `keep` has to, and `record`, to `folder`, or where that fails, to a temporary one.

    The run still counts then: the user is told of it in a line, and the record says so in words
    that are `cleaned`. Gives the record and its folder.
    """
    try:
        keep()
        save_record(record, folder)
    except InputError as error:
        said = f"not saved: {error}"
        with suppress(OSError, InputError):
            path = save_elsewhere(record)
            folder, said = path.parent, f"{said}; it is in {path}"
        tell(said)
        record = record.model_copy(update={"error": cleaned(said)})
    return record, folder


def _last_values(points: list[EvalPoint]) -> dict[str, float | None]:
    """By name, what was evaluated last of it; ``None`` where that was not finite."""
    values: dict[str, float | None] = {}
    for point in points:
        own = {"accuracy": point.accuracy, "loss": point.loss}
        was = {name: value for name, value in own.items() if value is not None}
        values |= was | ({"loss": None} if point.diverged else {}) | point.metrics
    return values


def _result(last: dict[str, EvalPoint], target: Target | None) -> Result:
    """What version 1 of records holds: of accuracy and loss alone, `last` by split."""
    known = last.keys() & {"test", "val"}
    scores: dict[str, Any] = {f"{name}_accuracy": last[name].accuracy for name in known}
    if "test" in last:
        scores["test_loss"] = last["test"].loss
    if target is None or target.metric != "accuracy":
        return Result(**scores)
    return Result(
        **scores,
        target_accuracy=target.value,
        time_to_accuracy_s=target.time_s,
        steps_to_accuracy=target.steps,
    )
