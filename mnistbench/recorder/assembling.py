"""The record of a run, made of what was noted of it, and saved wherever there is room."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from mnistbench.recorder.run_log import Outcome, RunLog
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import EvalPoint, Result, RunRecord
from mnistbench.schema.store import save_elsewhere, save_record
from mnistbench.schema.target import Target, point_at_target

__all__ = ["assemble_record", "save_somewhere"]


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
