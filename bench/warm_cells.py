"""What do warm processes save a sweep, and do they change what its runs say?

Cells of 300 steps (`--steps`) of `linear` are swept warm, all told: from the command to its end.
The first of them are swept fresh beside these, and the curves of both compared, to the bit. Then
warm and fresh runs are made in turn, and their speeds compared as `mnistbench compare` does.

    python -m bench.warm_cells --report bench/results/warm     # about 5 minutes on two cores
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.publishing import publish
from mnistbench.analysis.comparison import compare
from mnistbench.launch.local_executor import LocalExecutor
from mnistbench.launch.own_cells import RunCell
from mnistbench.output.comparison_table import comparison_values, render_comparison
from mnistbench.output.tables import render_table
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import load_records


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--fresh", type=int, default=6, help="of the cells, those also swept fresh")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--model", default="linear")
    parser.add_argument("--report", type=Path, help="folder for warm-cells.md and .json")
    asked = parser.parse_args(argv)
    config = RunConfig(model=asked.model, max_steps=asked.steps)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        warm = swept(config, asked.cells, folder / "warm")
        fresh = swept(config, asked.fresh, folder / "fresh", "--fresh")
        pairs = [*in_turn(config, asked.pairs, folder)]
    alike = [curve(a) == curve(b) for a, b in [*zip(fresh[1], warm[1], strict=False), *pairs]]
    found = compare(*zip(*pairs, strict=True), metrics=["samples_per_s"])
    rows = [row("warm", *warm), row("fresh", *fresh)]
    text = (
        f"{render_table(rows, 'markdown')}\n\n"
        f"Curves with the same bits, fresh and warm: {sum(alike)} of {len(alike)}.\n\n"
        f"A is fresh, B is warm, {len(pairs)} pairs in turn:\n\n"
        f"{render_comparison(found, [], table_format='markdown')}"
    )
    publish(text, asked.report, "warm-cells", data={"sweeps": rows, **comparison_values(found, [])})
    return 0 if all(alike) else 1


def swept(
    config: RunConfig, num_cells: int, folder: Path, *more: str
) -> tuple[float, list[RunRecord]]:
    """How long `mnistbench sweep` takes for so many seeds [s], and their records by seed."""
    command = [
        *(sys.executable, "-m", "mnistbench", "sweep", "--model", config.model, *more, "--quiet"),
        *("--max-steps", str(config.max_steps), "--seed", f"0..{num_cells - 1}"),
        *("--output-dir", str(folder)),
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    wall_s = time.perf_counter() - began
    return wall_s, sorted(load_records([folder]).records, key=lambda record: record.seed)


def in_turn(
    config: RunConfig, num_pairs: int, folder: Path
) -> Iterator[tuple[RunRecord, RunRecord]]:
    """A fresh and a warm run of each seed, the first of each pair in turn."""
    cells = [RunCell(config=config.model_copy(update={"seed": n})) for n in range(num_pairs)]
    sides = [LocalExecutor(fresh=fresh).run(cells, folder=folder) for fresh in (True, False)]
    for seed in range(num_pairs):
        order = (0, 1) if seed % 2 else (1, 0)
        records = {side: next(sides[side]).record for side in order}  # starts when it is asked for
        yield records[0], records[1]


def row(name: str, wall_s: float, runs: Sequence[RunRecord]) -> dict[str, str]:
    """A sweep as a row: what a cell takes, and on what its process spends it."""
    assert {run.environment["process"] for run in runs} == {name}
    phases = {phase: median(run.phases_s[phase] for run in runs) for phase in runs[0].phases_s}
    return {
        "processes": name,
        "cells": str(len(runs)),
        "all told s": f"{wall_s:.1f}",
        "s a cell": f"{wall_s / len(runs):.2f}",
        "in its process, median": f"{median(run.wall_s for run in runs):.2f}",
        **{phase: f"{value:.2f}" for phase, value in phases.items() if value >= 0.005},
    }


def curve(run: RunRecord) -> list[Any]:
    """All losses and accuracies of a run."""
    return [
        [(point.step, point.loss) for point in run.train_points],
        [(point.step, point.split, point.loss, point.accuracy) for point in run.eval_points],
        (run.result.test_loss, run.result.test_accuracy),
    ]


if __name__ == "__main__":
    sys.exit(main())
