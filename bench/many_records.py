"""How long do reports, comparisons and pages take as records grow in number, and how much memory?

A real run on generated digits leaves a record, which is copied with other seeds, speeds, accuracies
and configurations, half of the copies to a side A and half to a side B. Each command runs in a
process of its own.

    python -m bench.many_records                              # 1,000 to 10,000: an hour
    python -m bench.many_records --counts 100000 --only report --rounds 1 --keep FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from mnistbench.output.tables import render_table

SHAPES = ("seeds", "configurations", "long")
"""One configuration of many seeds, many of one seed each, and one with 500 evaluations a run."""

TRAIN = (
    *("--dataset", "synthetic", "--synthetic-train-size", "1900", "--val-size", "300"),
    *("--model", "linear", "--num-epochs", "20", "--target-accuracy", "0.9", "--num-threads", "1"),
)
COMMANDS = {
    "report": ("mnistbench.report", "{all}"),
    "per run": ("mnistbench.report", "{all}", "--per-run"),
    "json": ("mnistbench.report", "{all}", "--format", "json"),
    "csv": ("mnistbench.report", "{all}", "--format", "csv"),
    "by epoch": ("mnistbench.report", "epochs", "{all}"),
    "targets": ("mnistbench.report", "targets", "{all}", "--targets", "0.85,0.9"),
    "rules": ("mnistbench.report", "rules", "{all}"),
    "watch": ("mnistbench.report", "watch", "{all}"),
    "plot": ("mnistbench.report", "{all}", "--plot", "{out}/curves.png"),
    "page": ("mnistbench.report", "{all}", "--html", "{out}/page.html"),
    "compare": ("mnistbench.compare", "{all}/a", "{all}/b"),
    "benchmarks": ("mnistbench.compare", "{all}/a.json", "{all}/b.json"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 4_000, 10_000])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=600.0, help="of one command")
    parser.add_argument("--keep", type=Path, help="folder of the records, used again if there")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        base = arguments.keep or Path(scratch)
        rows = []
        for shape in arguments.shapes:
            for count in arguments.counts:
                folder = made(base, shape, count)
                rows += [
                    row(name, shape, folder, arguments) | {"records": f"{count:,}"}
                    for name in arguments.only
                ]
    print(render_table(rows, "markdown"))
    print(f"\nmedians of {arguments.rounds}; load {os.getloadavg()[0]:.1f}")


def made(base: Path, shape: str, count: int) -> Path:
    """The folder of `count` records of a `shape`, which is made where it is not there."""
    folder = base / f"{shape}-{count}"
    if folder.exists():
        return folder
    random.seed(0)
    template = trained(base)
    for index in range(count):
        side, number = "ab"[index % 2], index // 2
        record = changed(template, index, side=side, shape=shape, number=number)
        place = folder / side / record["run_id"] / "record.json"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(record, indent=1), encoding="utf-8")
    for side in "ab":
        (folder / f"{side}.json").write_text(json.dumps(benchmarks(count)), encoding="utf-8")
    return folder


def trained(base: Path) -> dict[str, Any]:
    """The record of a real run, made once."""
    folder = base / "run"
    if not folder.exists():
        command = (sys.executable, "-m", "mnistbench.train", *TRAIN, "--output-dir", str(folder))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    (path,) = folder.rglob("record.json")
    return json.loads(path.read_text(encoding="utf-8"))


def changed(
    template: dict[str, Any], index: int, *, side: str, shape: str, number: int
) -> dict[str, Any]:
    """Another run: of a configuration of its own or a seed of the same, B faster than A by 3 %."""
    record = deepcopy(template)
    seed, configuration = (0, number) if shape == "configurations" else (number, 0)
    speed = (1.03 if side == "b" else 1.0) * random.lognormvariate(0, 0.02)
    better = random.gauss(0, 0.003)
    began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=index)
    record |= {"run_id": f"run-{index}", "seed": seed, "invocation": f"call-{index // 8}"}
    record["created_at"] = began.isoformat(timespec="milliseconds")
    record["config"] |= {"seed": seed, "lr": 0.01 * (1 + configuration / 4)}
    record["environment"]["git_commit"] = side * 40
    record["throughput"]["samples_per_s"] *= speed
    record["wall_s"] /= speed
    record["phases_s"]["train"] /= speed
    if shape == "long":
        step, *_ = record["eval_points"]
        record["eval_points"] = [step | {"step": i, "epoch": i / 25} for i in range(1, 501)]
    for point in record["eval_points"]:
        point["train_s"] /= speed
        point["accuracy"] = min(1.0, max(0.0, point["accuracy"] + better))
    for name in ("test_accuracy", "val_accuracy"):
        record["result"][name] = min(1.0, record["result"][name] + better)
    return record


def benchmarks(count: int) -> dict[str, Any]:
    """A file of pytest-benchmark with half of `count` benchmarks, of ten rounds each."""
    found = []
    for index in range(count // 2):
        rounds = [0.01 * random.lognormvariate(0, 0.05) for _ in range(10)]
        stats = {"median": median(rounds), "rounds": len(rounds), "data": rounds}
        found.append({"fullname": f"bench_it.py::bench[{index}]", "stats": stats})
    return {"machine_info": {}, "benchmarks": found}


def row(name: str, shape: str, folder: Path, arguments: argparse.Namespace) -> dict[str, str]:
    with TemporaryDirectory() as out:
        module, *words = (word.format(all=folder, out=out) for word in COMMANDS[name])
        command = (sys.executable, "-m", module, *words)
        runs = list(measured(command, rounds=arguments.rounds, limit_s=arguments.limit_s))
    wall, busy, peaks, statuses = zip(*runs, strict=True)
    figures = {"s": f"{median(wall):.1f}", "CPU s": f"{median(busy):.1f}"}
    figures["peak MB"] = f"{max(peaks) / 1e6:,.0f}"
    print(name, folder.name, *figures.values(), file=sys.stderr, flush=True)
    return {"command": name, "shape": shape} | figures | {"status": str(max(statuses))}


def measured(
    command: tuple[str, ...], *, rounds: int, limit_s: float
) -> Iterator[tuple[float, float, int, int]]:
    """Of each round its seconds, those of a core, its peak of memory [bytes], its exit status."""
    for _ in range(rounds):
        began = time.monotonic()
        limited = ("timeout", f"{limit_s:g}", *command)
        child = subprocess.Popen(limited, stdout=subprocess.DEVNULL)  # noqa: S603
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        busy = used.ru_utime + used.ru_stime
        yield time.monotonic() - began, busy, used.ru_maxrss * 1024, child.returncode


if __name__ == "__main__":
    main()
