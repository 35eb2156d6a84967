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
from pathlib import Path

from bench.suite_format import interval_text, ratio
from mnistbench.output.screen import Screen

TORCH = ["-c", "import torch"]
_SHOWN_MS = 5.0
_IMPORT_PROCESSES = 3


def run_of_one_step(output_dir: str) -> list[str]:
    return ["-m", "mnistbench.train", "--max-steps", "1", "--quiet", "--output-dir", output_dir]


def process(arguments: list[str], folder: Path) -> tuple[float, float, str]:
    """Wall and CPU time of one Python with the package in `folder` [s], and what is on stderr."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed
    command = [sys.executable, *arguments]
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    wall_s, after = time.perf_counter() - began, os.times()
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip().rpartition(chr(10))[2]}")
    return wall_s, sum(after[2:4]) - sum(before[2:4]), done.stderr


def imports_ms(arguments: list[str], folder: Path) -> Counter[str]:
    """What modules of each top-level package took by themselves, by ``-X importtime`` [ms]."""
    found = Counter[str]()
    for line in process(["-X", "importtime", *arguments], folder)[-1].splitlines():
        own, _, name = line.removeprefix("import time:").partition("|")
        if own.strip().isdecimal():
            found[name.rpartition("|")[2].strip().partition(".")[0]] += int(own) / 1000
    return found


def import_rows(starts: dict[str, tuple[list[str], Path]]) -> list[dict[str, str]]:
    least: dict[str, Counter[str]] = {}
    for name, start in starts.items():
        tries = [imports_ms(*start) for _ in range(_IMPORT_PROCESSES)]
        least[name] = Counter({one: min(t[one] for t in tries) for one in tries[0]})
    rows = []
    for library, _ in sum(least.values(), Counter()).most_common():
        if any(found[library] >= _SHOWN_MS for found in least.values()):
            cells = {name: f"{found[library]:.0f}" for name, found in least.items()}
            rows.append({"imports [ms]": library, **cells})
    return [*rows, {"imports [ms]": "all", **{n: f"{f.total():.0f}" for n, f in least.items()}}]


def start_rows(starts: dict[str, tuple[list[str], Path]], rounds: int) -> list[dict[str, str]]:
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in starts}
    for start in starts.values():  # one that does not count reads the files
        process(*start)
    for _ in range(rounds):
        for name, start in starts.items():
            found[name].append(process(*start)[:2])
    rows = []
    for name, times in found.items():
        cells = {"start": name}
        for clock, ours, bare in zip(
            ("wall", "CPU"),
            zip(*times, strict=True),
            zip(*found["import torch"], strict=True),
            strict=True,
        ):
            ratios = [mine / torch for mine, torch in zip(ours, bare, strict=True)]
            cells[f"{clock} s"] = interval_text(ours, ratio)
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
        train = run_of_one_step(folder)
        starts = {"import torch": (TORCH, here)}
        if given.before:
            starts["train, before"] = train, given.before.resolve()
        starts["train"] = train, here
        for rows in (import_rows(starts), start_rows(starts, given.rounds)):
            print(Screen.of(sys.stdout, wide=True).table(rows), end="\n\n")


if __name__ == "__main__":
    main()
