"""Whether a time to a target is the same however often runs are evaluated: the same runs, thinned.

``python -m bench.validate_spacing [--seeds N] [--output DIR]`` trains simple-cnn with an evaluation
every 14 steps, and reads the same curves as if they had been evaluated less often.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.loss_runs import SETTINGS, learning_rate
from bench.publishing import publish
from bench.suite_format import HEADLINE
from mnistbench.analysis.scoring import reading_to_target
from mnistbench.engine.evaluation_schedule import EvaluationSchedule
from mnistbench.engine.run_seeds import train
from mnistbench.output.tables import render_table
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import EvalPoint, RunRecord
from mnistbench.stats.survival import kaplan_meier_median, median_reading

_EVERY = 14
_MODEL = "simple-cnn"

Thin = Callable[[RunRecord], list[EvalPoint]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--output", type=Path, help="folder for spacing.md and spacing.json")
    asked = parser.parse_args(argv)
    records = _train(asked.seeds)
    found = [_read(records, name, thin) for name, thin in _SPACINGS.items()]
    text = render_table([_cells(one) for one in found], "markdown")
    publish(f"{_HEAD}\n{text}", asked.output, "spacing", data=found)
    return 0


_HEAD = f"""# The same runs, evaluated more and less often

Steps of {_MODEL} with cross-entropy to {HEADLINE:.0%} of val. *First evaluation at the target* is
what was told before: its median and interval as if it were the time itself.
"""


def _train(num_seeds: int) -> list[RunRecord]:
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            **SETTINGS[_MODEL] | {"num_epochs": 3},
            loss="cross-entropy",
            lr=learning_rate(_MODEL, "cross-entropy"),
            target_accuracy=HEADLINE,
            eval_every_steps=_EVERY,
            num_seeds=num_seeds,
            output_dir=folder,
        )
        return train(config)


def _epochs(record: RunRecord) -> list[EvalPoint]:
    """Points at the evaluations that are next to each epoch's end."""
    every = round(record.num_steps / record.num_epochs)
    ends = range(every, record.num_steps + 1, every)
    points = _val(record)
    return [min(points, key=lambda point: abs(point.step - end)) for end in ends]


def _by_target(record: RunRecord) -> list[EvalPoint]:
    """Points that the schedule up to a target would have made, as near as they were made."""
    every = round(record.num_steps / record.num_epochs)
    schedule = EvaluationSchedule(
        config=RunConfig(target_accuracy=HEADLINE),
        steps_per_epoch=every,
        num_steps=record.num_steps,
    )
    points, made = _val(record), list[EvalPoint]()
    while not made or made[-1].step < points[-1].step:
        due = schedule.next_step(made)
        made.append(next((p for p in points if p.step >= due), points[-1]))
    return made


def _val(record: RunRecord) -> list[EvalPoint]:
    return [point for point in record.eval_points if point.split == "val"]


_SPACINGS: dict[str, Thin] = {
    f"every {_EVERY} steps": _val,
    "up to the target, 5 % apart": _by_target,
    "once an epoch": _epochs,
}


def _read(records: Sequence[RunRecord], name: str, thin: Thin) -> dict[str, Any]:
    thinned = [record.model_copy(update={"eval_points": thin(record)}) for record in records]
    readings = [reading_to_target(record, HEADLINE, steps=True) for record in thinned]
    first = kaplan_meier_median([r.value for r in readings], [r.reached for r in readings])
    return {
        "spacing": name,
        "evaluations": sum(len(record.eval_points) for record in thinned) / len(thinned),
        "readings": [list(reading[:2]) for reading in readings],
        "interval_censored": median_reading(readings)._asdict(),
        "first_evaluation": first._asdict(),
    }


def _cells(found: dict[str, Any]) -> dict[str, str]:
    def text(median: dict[str, Any]) -> str:
        low, high = median["low"] or 0, median["high"]
        return f"{median['value']:,.0f} ({low:,.0f}–{'∞' if high is None else f'{high:,.0f}'})"

    return {
        "evaluated": found["spacing"],
        "evaluations a run": f"{found['evaluations']:.0f}",
        "median steps (95 % interval)": text(found["interval_censored"]),
        "first evaluation at the target": text(found["first_evaluation"]),
        "n": str(found["interval_censored"]["n"]),
    }


if __name__ == "__main__":
    raise SystemExit(main())
