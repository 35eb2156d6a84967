"""Where a start spends its time: imports by library, and a run of one step beside ``import torch``.

``python -m bench.start_imports [--before FOLDER] [--rounds N]`` prints two tables. FOLDER is a
checkout of another revision, which is measured in turn with this one. Each process is a new one;
of the imports, each library has the least of three processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import reduce
from operator import and_, or_
from pathlib import Path

from bench.suite_format import interval_text, ratio
from mnistbench.output.screen import Screen

_SHOWN_MS = 5.0
_IMPORT_PROCESSES = 3


def process(arguments: list[str], folder: Path) -> tuple[float, float, str]:
    """Wall and CPU time of one Python with the package in `folder` [s], and what is on stderr."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed
    command = [sys.executable, *arguments]
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    after = os.times()
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip().rpartition(chr(10))[2]}")
    wall_s, cpu_s = time.perf_counter() - began, sum(after[2:4]) - sum(before[2:4])
    return wall_s, cpu_s, done.stderr


def imports_ms(arguments: list[str], folder: Path) -> Counter[str]:
    """What modules of each top-level package took by themselves, by ``-X importtime`` [ms]."""
    found = Counter[str]()
    for line in process(["-X", "importtime", *arguments], folder)[2].splitlines():
        own, _, name = line.removeprefix("import time:").partition("|")
        if own.strip().isdecimal():
            found[name.rpartition("|")[2].strip().partition(".")[0]] += int(own) / 1000
    return found


def import_rows(starts: dict[str, tuple[list[str], Path]]) -> list[dict[str, str]]:
    least: dict[str, Counter[str]] = {}
    for name, start in starts.items():
        least[name] = reduce(and_, (imports_ms(*start) for _ in range(_IMPORT_PROCESSES)))
        least[name]["all"] = least[name].total()
    return [
        {"imports [ms]": library, **{name: f"{ms[library]:.0f}" for name, ms in least.items()}}
        for library, most in reduce(or_, least.values()).most_common()
        if most >= _SHOWN_MS
    ]


def start_rows(starts: dict[str, tuple[list[str], Path]], rounds: int) -> list[dict[str, str]]:
    for start in starts.values():  # one that does not count reads the files
        process(*start)
    turns = [{name: process(*start) for name, start in starts.items()} for _ in range(rounds)]
    rows = []
    for name in starts:
        cells = {"start": name}
        for index, clock in enumerate(("wall", "CPU")):
            ratios = [turn[name][index] / turn["import torch"][index] for turn in turns]
            cells[f"{clock} s"] = interval_text([turn[name][index] for turn in turns], ratio)
            cells[f"{clock}, times import torch"] = interval_text(ratios, ratio)
        rows.append({**cells, "n": str(rounds)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, help="checkout of another revision")
    parser.add_argument("--rounds", type=int, default=10, help="processes of each kind")
    given = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        train = ["-m", "mnistbench.train", "--max-steps", "1", "--quiet", "--output-dir", folder]
        starts = {"import torch": (["-c", "import torch"], here)}
        if given.before:
            starts["train, before"] = train, given.before.resolve()
        starts["train"] = train, here
        for rows in (import_rows(starts), start_rows(starts, given.rounds)):
            print(Screen.of(sys.stdout, wide=True).table(rows), end="\n\n")


if __name__ == "__main__":
    main()
