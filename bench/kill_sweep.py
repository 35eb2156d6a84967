"""Does a sweep that is killed again and again still run every cell exactly once?

Real cells, small networks on generated digits, are swept by ``mnistbench sweep``. At random moments
SIGKILL ends the sweep itself, which is started again by the same command; or the preloaded process
that its cells are forked from; or a cell. Counted are the records, and what still ran a second
after each kill of what should have ended with it.

    python -m bench.kill_sweep                    # 60 cells, 9 kills: about 2 minutes on two cores
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from mnistbench.output.tables import render_table
from mnistbench.schema.store import load_record

GRID = (
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--num-epochs", "1", "--num-threads", "1", "--model", "linear,mlp"),
    *("--loss", "cross-entropy,mse", "--lr", "0.01,0.03,0.1"),
)
CELLS_PER_SEED = 2 * 2 * 3
SERVER = "mnistbench.engine.preloaded"
LAST_MOMENT_S = {"sweep": 4.0, "server": 0.8, "cell": 0.8}
"""As long as a start or a cell takes: a kill falls into any part of one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="12 cells each")
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    num_cells = CELLS_PER_SEED * arguments.seeds
    draw = random.Random(0)  # noqa: S311 - not for secrets
    kill_after = sorted(draw.sample(range(1, num_cells - 1), arguments.kills))
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sweep"
        command = sweep_command(folder, arguments.seeds, arguments.jobs)
        started = time.monotonic()
        sweep, rows = subprocess.Popen(command), []  # noqa: S603 - our own command
        for n in kill_after:
            what = draw.choice([*LAST_MOMENT_S])
            moment_s = LAST_MOMENT_S[what] * draw.random()
            rows.append(killed(sweep, folder, what, num_done=n, moment_s=moment_s))
            if sweep.poll() is not None:
                sweep = subprocess.Popen(command)  # noqa: S603 - our own command
        status = sweep.wait()
        print(render_table(rows, "markdown"))
        print(conclusion(folder, num_cells, status, time.monotonic() - started))


def sweep_command(folder: Path, num_seeds: int, jobs: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mnistbench", "sweep", *GRID, "--seed", f"0..{num_seeds - 1}"),
        *("--jobs", str(jobs), "--output-dir", str(folder)),
    ]


def killed(
    sweep: subprocess.Popen[bytes], folder: Path, what: str, *, num_done: int, moment_s: float
) -> dict[str, str]:
    """Kill `what` of `sweep` some seconds after `num_done` cells are done; a row about it."""
    while len(results(folder)) < num_done:
        if sweep.poll() is not None:
            raise RuntimeError("the sweep ended before it was killed")
        time.sleep(0.02)
    time.sleep(moment_s)
    gone: list[psutil.Process] = []
    while not gone and sweep.poll() is None:
        time.sleep(0.01)
        with suppress(psutil.Error):  # it ended meanwhile
            gone = doomed(sweep, what)
            for process in gone[:1]:
                process.kill()
    if what == "sweep":
        sweep.wait()
    running = list((folder / ".running").glob("*"))
    ended = [path for path in running if list(path.glob("*/record.json"))]
    time.sleep(1)
    left = [one for one in gone if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    return {
        "killed": what if gone else "nothing: the sweep had ended",
        "after cells": str(len(results(folder))),
        "runs cut off": str(len(running) - len(ended)),
        "runs ended, to be adopted": str(len(ended)),
        "processes left after 1 s": str(len(left)),
    }


def doomed(sweep: subprocess.Popen[bytes], what: str) -> list[psutil.Process]:
    """The sweep, the process that its cells are forked from, or a cell, with all below it."""
    its = [psutil.Process(sweep.pid)]
    if what != "sweep":
        forks = [process for process in its[0].children() if SERVER in process.cmdline()]
        forks.sort(key=psutil.Process.create_time)
        its = [forks[what == "cell"]] if len(forks) > 1 else []
    return [one for process in its for one in (process, *process.children(recursive=True))]


def conclusion(folder: Path, num_cells: int, status: int, elapsed_s: float) -> str:
    found = results(folder)
    planned = {cell["id"] for cell in json.loads((folder / "sweep.json").read_text())["cells"]}
    every_record = sorted(folder.rglob("record.json"))
    runs = Counter(load_record(path).run_id for path in every_record)
    once = {path.parent.name for path in found} == planned and set(runs.values()) == {1}
    return (
        f"{num_cells} cells: {len(every_record)} records of {len(runs)} runs in {len(found)} of "
        f"{len(planned)} planned cells, exit status {status}, {elapsed_s:.0f} s: "
        f"{'every cell exactly once' if once and len(found) == num_cells else 'NOT as planned'}"
    )


def results(folder: Path) -> list[Path]:
    return sorted((folder / "cells").glob("*/record.json"))


if __name__ == "__main__":
    main()
