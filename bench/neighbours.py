"""How fast a run is beside busy neighbours, by how threads wait for each other.

``python -m bench.neighbours [--rounds N] [-- FLAG ...]`` trains simple-cnn at batch 64 (FLAGs may
say otherwise) beside 0, 1 and 2 processes that spin, with the waiting policies of `ARMS` in turn,
each run a new process. Five minutes at 6 rounds on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median

from bench.suite_format import interval_text, ratio
from mnistbench.output.screen import Screen

ARMS: Mapping[str, Mapping[str, str]] = {
    "libgomp's default": {"GOMP_SPINCOUNT": "300000"},
    "GOMP_SPINCOUNT=30000": {"GOMP_SPINCOUNT": "30000"},
    "GOMP_SPINCOUNT=3000": {"GOMP_SPINCOUNT": "3000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""What each kind of run has in its environment; the first is what the others are compared with."""

NEIGHBOURS = (0, 1, 2)
_RUN = [
    *("-m", "mnistbench.train", "--model", "simple-cnn", "--global-batch-size", "64"),
    *("--max-steps", "900", "--quiet", "--format", "json"),
]
_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """That many processes that keep a core busy, wherever the system puts them."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for one in spinning:
            one.kill()
            one.wait()


def samples_per_s(variables: Mapping[str, str], flags: Sequence[str]) -> float:
    environment = {k: v for k, v in os.environ.items() if k not in _VARIABLES} | dict(variables)
    done = subprocess.run(  # noqa: S603
        [sys.executable, *_RUN, *flags],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr.strip().rpartition("\n")[2])
    return float(json.loads(done.stdout)["throughput"]["samples_per_s"])


def measured(rounds: int, flags: Sequence[str]) -> dict[tuple[str, int], list[float]]:
    """Samples/s of each arm beside each number of neighbours, all in turn."""
    found: dict[tuple[str, int], list[float]] = {}
    for index in range(rounds):
        for number in NEIGHBOURS:
            arms = list(ARMS) if index % 2 else list(ARMS)[::-1]
            with neighbours(number):
                for arm in arms:
                    found.setdefault((arm, number), []).append(samples_per_s(ARMS[arm], flags))
    return found


def rows(found: Mapping[tuple[str, int], list[float]]) -> Iterator[dict[str, str]]:
    first = next(iter(ARMS))
    for number in NEIGHBOURS:
        for arm in ARMS:
            values, others = found[arm, number], found[first, number]
            paired = [mine / other for mine, other in zip(values, others, strict=True)]
            yield {
                "neighbours": str(number),
                "threads wait": arm,
                "samples/s": interval_text(values, lambda value: f"{value:,.0f}"),
                "times the default": interval_text(paired, ratio),
                "times alone": f"{median(values) / median(found[arm, 0]):.2f}",
                "n": str(len(values)),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6, help="runs of each kind")
    parser.add_argument("flags", nargs="*", help="more flags of mnistbench train, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(given.rounds, ["--output-dir", folder, *given.flags])
    print(Screen.of(sys.stdout, wide=True).table(list(rows(found))))


if __name__ == "__main__":
    main()
