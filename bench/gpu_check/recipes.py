"""The recipes `speedrun-99` and `fast-cnn` as published, in turn: seconds and accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from statistics import fmean, median
from typing import Any

from bench.gpu_check.findings import Finding, Setup
from bench.gpu_check.results import one_line
from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord
from mnistbench.workload.recipes import RECIPES

GOAL_S = 0.020
LIMIT_S = 0.060
"""What is asked of `speedrun-99`'s median time of training, and what is hoped for."""

_PUBLISHED = ("speedrun-99", "fast-cnn")
_TIMED = "speedrun-99"
_SPREAD = 0.002
"""How far a mean accuracy of ten seeds may lie below its claim."""


@dataclass
class RecipeRuns:
    """The records of one recipe so far."""

    name: str
    records: list[RunRecord] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def finding(self, *, asked: int, on_mnist: bool) -> Finding:
        """Seconds and accuracy so far, against what is asked and claimed."""
        claim = RECIPES[self.name].claimed_accuracy or 0.0  # type: ignore[index]
        train_s = [record.phases_s["train"] for record in self.records]
        accuracy = [record.result.test_accuracy or 0.0 for record in self.records]
        limit_s = LIMIT_S if self.name == _TIMED else math.inf
        asks = f", median at most {1e3 * LIMIT_S:.0f} ms (goal {1e3 * GOAL_S:.0f} ms)"
        fast = bool(train_s) and median(train_s) <= limit_s
        right = not on_mnist or (bool(accuracy) and fmean(accuracy) >= claim - _SPREAD)
        holds = fast and right if len(self.records) >= asked else None
        return Finding(
            check=self.name,
            expected=f"n = {asked}, mean accuracy {100 * claim:.2f} %"
            f"{asks if self.name == _TIMED else ''}",
            found="; ".join([_times(train_s), _accuracies(accuracy, on_mnist), *self.wrong[:1]]),
            holds=False if self.wrong else holds,
            values={
                "ran as": next((r.environment.get("loop_floor") for r in self.records), None),
                "reached the goal": "yes" if train_s and median(train_s) <= GOAL_S else "no",
            },
        )


def check(setup: Setup) -> Iterator[Finding]:
    yield from check_recipes(setup)


def check_recipes(setup: Setup, **changed: Any) -> Iterator[Finding]:
    """Rounds of one seed each, and after each what was found so far.

    `changed` are fields that are not as published, for a trial.
    """
    runs = {name: RecipeRuns(name) for name in _PUBLISHED}
    on_mnist = setup.data.get("dataset") == "mnist"
    for seed in range(setup.num_seeds):
        for one in runs.values():
            _make(one, setup, {"seed": seed, **changed})
            yield one.finding(asked=setup.num_seeds, on_mnist=on_mnist)


def _make(runs: RecipeRuns, setup: Setup, changed: Mapping[str, Any]) -> None:
    fields = {
        **RECIPES[runs.name].settings,  # type: ignore[index]
        **setup.data,
        "output_dir": str(setup.scratch / "recipes"),
        "num_threads": setup.num_threads,
        **changed,
    }
    try:
        [record] = train(RunConfig(recipe=runs.name, **fields))
    except Exception as error:
        runs.wrong.append(one_line(error))
        return
    runs.records.append(record)


def _times(train_s: list[float]) -> str:
    """Median, its interval where that can be reckoned, and all values' range."""
    if not train_s:
        return "no time"
    text = f"median {1e3 * median(train_s):.1f} ms"
    if find_spec("scipy") and len(train_s) > 1:
        from mnistbench.stats.intervals import median_interval

        found = median_interval(train_s)
        low, high = found.low, found.high
        text += f" (95 % interval {_ms(low)} to {_ms(high)})"
    return f"{text}, from {_ms(min(train_s))} to {_ms(max(train_s))}, n = {len(train_s)}"


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:.1f}"


def _accuracies(values: list[float], on_mnist: bool) -> str:
    if not values:
        return "no accuracy"
    text = f"accuracy {100 * fmean(values):.2f} %, from {100 * min(values):.2f}"
    text += f" to {100 * max(values):.2f}"
    return text if on_mnist else f"{text} (generated digits: no verdict)"
