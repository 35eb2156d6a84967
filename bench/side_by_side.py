"""The convergence study by both ways: runs one by one, and side by side with steps timed alone.

``python -m bench.side_by_side FOLDER [--losses N] [--seeds N] [--epochs N] [--output DIR]``
compares medians, verdicts and durations, and says by list scheduling what more cores would take.
FOLDER keeps the runs of both; ``--one-by-one RUNS`` takes such as were made before.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from time import monotonic

from bench.loss_runs import LOSSES, SETTINGS, learning_rate
from bench.publishing import publish
from bench.suite_format import HEADLINE, reached_text
from mnistbench.analysis.comparison import compare
from mnistbench.analysis.metrics import METRICS
from mnistbench.grid_search import GridFlags, results, run_cells
from mnistbench.launch.own_cells import RunCell
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.output.tables import render_table
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import load_records

_TIME = "time_to_accuracy_s"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--one-by-one", type=Path)
    parser.add_argument("--losses", type=int, default=len(LOSSES), help="the first so many")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, help="of each run; by default the study's")
    parser.add_argument("--jobs", default="auto")
    parser.add_argument("--cores", type=int, nargs="*", default=[4, 16])
    parser.add_argument("--output", type=Path, help="folder for side-by-side.md")
    asked = parser.parse_args(argv)
    losses, shorter = LOSSES[: asked.losses], {"num_epochs": asked.epochs} if asked.epochs else {}
    cells = [
        RunCell(
            config=RunConfig(
                **{**settings, **shorter, "loss": loss, "lr": learning_rate(model, loss)},
                seed=seed,
                target_accuracy=HEADLINE,
            )
        )
        for model, settings in SETTINGS.items()
        for loss in losses
        for seed in range(asked.seeds)
    ]
    beside, spent = _made(cells, asked.folder / "side-by-side", jobs=asked.jobs)
    wanted = {*map(_key, beside)}
    if asked.one_by_one:
        alone = [r for r in load_records([asked.one_by_one]).records if _key(r) in wanted]
        alone_s = sum(run.wall_s for run in alone)
    else:
        alone, its = _made(cells, asked.folder / "one-by-one", jobs="1")
        alone_s = its["runs"]
    clocks = f"{len(cells)} runs: side by side {spent['runs']:,.0f} s, then windows alone"
    clocks += f" {spent['windows']:,.0f} s; one by one {alone_s:,.0f} s: "
    clocks += f"{sum(spent.values()) / alone_s:.0%}."
    told = ["# A study one by one and side by side\n", clocks]
    longest = sorted((run.wall_s for run in beside), reverse=True)
    told += [
        f"On {n} cores, by list scheduling: {makespan(longest, n) + spent['windows']:,.0f} s."
        for n in asked.cores
    ]
    told += [line for model in SETTINGS for line in _compared(model, losses, (alone, beside))]
    publish("\n".join(told), asked.output, "side-by-side")
    return 0


def _made(
    cells: Sequence[RunCell], path: Path, *, jobs: str
) -> tuple[list[RunRecord], dict[str, float]]:
    """The records of `cells`, and what runs and windows took when they were made [seconds]."""
    folder, clock = SweepFolder(path), path / "seconds.json"
    if path.exists() and not clock.exists():
        raise SystemExit(f"{path}: how long its runs took is not known; take another FOLDER")
    if not clock.exists():
        spent = {}
        for what in ("runs", "windows"):
            options = GridFlags.model_validate({"jobs": jobs, "step_times": what == "windows"})
            began = monotonic()
            if run_cells(cells, folder, {}, options):
                raise SystemExit(1)
            spent[what] = monotonic() - began
        clock.write_text(json.dumps(spent))
    return results(cells, folder), json.loads(clock.read_text())


def _compared(
    model: str, losses: Sequence[str], ways: Sequence[Sequence[RunRecord]]
) -> Iterator[str]:
    """What both ways say of `losses` on `model`: medians, and of each pair a verdict."""
    groups = [
        {loss: [record for record in way if _key(record)[:2] == (model, loss)] for loss in losses}
        for way in ways
    ]
    level = METRICS[_TIME].of
    rows = [
        {"loss": loss}
        | {
            f"{name} s": reached_text(level(way[loss]), "{:.2f}".format)
            for name, way in zip(("one by one", "side by side"), groups, strict=True)
        }
        for loss in sorted(losses, key=lambda loss: level(groups[0][loss]).value or math.inf)
    ]
    yield f"\n## {model}: time to {HEADLINE:.0%}\n\n{render_table(rows, 'markdown')}\n"
    found = Counter(
        " / ".join(_verdict(way[a], way[b]) for way in groups) for a, b in combinations(losses, 2)
    )
    yield "\n".join(f"- {n} pairs of losses: {both}" for both, n in found.most_common())


def _key(record: RunRecord) -> tuple[str, str, int | None]:
    return record.config["model"], record.config["loss"], record.seed


def _verdict(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> str:
    return compare(a, b, metrics=[_TIME]).rows[0].verdict


def makespan(durations: Sequence[float], workers: int) -> float:
    """When the last of `durations` ends, each begun in their order by the next free worker."""
    free = [0.0] * workers
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


if __name__ == "__main__":
    raise SystemExit(main())
