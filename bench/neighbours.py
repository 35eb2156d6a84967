"""How fast training is beside busy neighbours, by how threads wait for each other.

``python -m bench.neighbours [--rounds N] [--model NAME]`` trains at batch 64 beside 0, 1 and 2
processes that spin. Each way of `ARMS` is a process that lives through all rounds and trains for
half a second when it is its turn: a minute for 12 rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import cycle, islice, product
from operator import truediv
from statistics import median
from typing import Any

from bench.suite_format import interval_text, ratio
from mnistbench.output.screen import Screen

ARMS: Mapping[str, Mapping[str, str]] = {
    "libgomp's default": {"GOMP_SPINCOUNT": "300000"},
    "30,000 spins": {"GOMP_SPINCOUNT": "30000"},
    "10,000 spins": {"GOMP_SPINCOUNT": "10000"},
    "1,000 spins": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""What the environment of each way has; the first is what the others are compared with."""

NEIGHBOURS = (0, 1, 2)
_BATCH, _BATCHES, _TURN_S = 64, 200, 0.5
_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


def train_when_asked(model: str) -> None:
    """Train for a while at each line of stdin, and say how many samples/s that were."""
    from mnistbench.engine.build import build_parts
    from mnistbench.engine.setting import run_context, start_setting
    from mnistbench.recorder.clock import Ledger
    from mnistbench.schema.config import RunConfig

    config, ledger = RunConfig(model=model, global_batch_size=_BATCH), Ledger()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        config = config.model_copy(update={"output_dir": folder})
        context = run_context(start_setting(config, ledger, held=held), seed=0)
        step = build_parts(context, ledger).step
        batches = list(islice(context.data.batches(context.batch_plan, config), _BATCHES))
        print("ready", flush=True)
        for _ in sys.stdin:
            steps, began = 0, time.perf_counter()
            for batch in cycle(batches):
                step.train_steps([batch], lrs=[1e-4])
                steps += 1
                if (took_s := time.perf_counter() - began) >= _TURN_S:
                    break
            print(steps * _BATCH / took_s, flush=True)


def started(held: ExitStack, arguments: list[str], **variables: str) -> subprocess.Popen[str]:
    """A Python with these arguments and `variables`, killed as `held` ends."""
    environment = {k: v for k, v in os.environ.items() if k not in _VARIABLES} | variables
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, *arguments]
    child = held.enter_context(
        subprocess.Popen(command, env=environment, text=True, **pipes)  # noqa: S603
    )
    held.callback(child.kill)
    return child


def said(child: Any, asked: str = "") -> str:
    """The next line of `child`, once it was sent `asked`."""
    child.stdin.write(asked)
    child.stdin.flush()
    return str(child.stdout.readline())


def measured(rounds: int, model: str) -> dict[tuple[str, int], list[float]]:
    """Samples/s of each way beside each number of neighbours, all in turn."""
    found: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as children:
        train = ["-m", "bench.neighbours", "--child", "--model", model]
        ways = {name: started(children, train, **ARMS[name]) for name in ARMS}
        for child in ways.values():
            said(child)  # that it is ready
        for index, number in product(range(rounds), NEIGHBOURS):
            with ExitStack() as spinning:
                for _ in range(number):
                    started(spinning, ["-c", "while True: pass"])
                for name in list(ways)[:: 1 if index % 2 else -1]:
                    speed = float(said(ways[name], "\n"))
                    found.setdefault((name, number), []).append(speed)
    return found


def rows(found: Mapping[tuple[str, int], list[float]]) -> Iterator[dict[str, str]]:
    first = next(iter(ARMS))
    for number, name in product(NEIGHBOURS, ARMS):
        values, others = found[name, number], found[first, number]
        yield {
            "neighbours": str(number),
            "threads wait": name,
            "samples/s": interval_text(values, "{:,.0f}".format),
            "times the default": interval_text([*map(truediv, values, others)], "{:.3f}".format),
            "times alone": ratio(median(values) / median(found[name, 0])),
            "n": str(len(values)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="turns of each kind")
    parser.add_argument("--model", default="simple-cnn", help="a built-in network")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        train_when_asked(given.model)
    else:
        found = measured(given.rounds, given.model)
        print(Screen.of(sys.stdout, wide=True).table(list(rows(found))))


if __name__ == "__main__":
    main()
