"""What `mnistbench.record` costs a loop: pairs of windows beside each other, with and without it.

``python -m bench.recording_cost [--pairs N] [--steps N] [--output DIR]`` trains a small network by
steps of about 2 ms on one thread. The two windows of a pair come in an order that alternates.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from bench.publishing import publish
from bench.suite_format import interval_text
from mnistbench import record
from mnistbench.output.tables import render_table

_BATCH = 256
_STEP_S = 0.002
_WARM_UP = 20
_CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=300, help="of a window")
    parser.add_argument("--output", type=Path, help="folder for recording.md and recording.json")
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    batches, step = _loop(asked.steps + _WARM_UP)
    with tempfile.TemporaryDirectory() as folder:
        found = [
            _pair(batches, step, folder, recorded_first=bool(n % 2)) for n in range(asked.pairs)
        ]
        host_us = median(_host_us(batches[0], folder) for _ in range(7))
    once_s = median(pair["recorded"]["once"] - pair["plain"]["once"] for pair in found)
    text = render_table([_row(name, found, asked.steps) for name in _CLOCKS], "markdown")
    text += (
        f"\n\nmedians over {asked.pairs} pairs of windows of {asked.steps} steps (95 % interval); "
        f"before the first step and after the last, {once_s:.2f} s more a run; in a loop that does "
        f"nothing, {host_us:.1f} µs of the processor a step"
    )
    publish(f"# What recording costs a loop\n\n{text}", asked.output, "recording", data=found)
    return 0


def _loop(num_steps: int) -> tuple[list[list[Tensor]], Callable[[list[Tensor]], None]]:
    """Batches of a window, and a step that takes about `_STEP_S` here: its width is fitted."""
    torch.manual_seed(0)
    batches = [[torch.randn(_BATCH, 64), torch.randint(10, (_BATCH,))] for _ in range(num_steps)]
    width = 64
    while True:
        step = _step_of(width)
        if _window(batches[: 50 + _WARM_UP], step)["processor"] / 50 > 0.9 * _STEP_S:
            return batches, step
        width += width // 4


def _step_of(width: int) -> Callable[[list[Tensor]], None]:
    """One update of a network whose hidden layers have `width` units."""
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step(batch: list[Tensor]) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


def _pair(
    batches: list[list[Tensor]],
    step: Callable[[list[Tensor]], None],
    folder: str,
    *,
    recorded_first: bool,
) -> dict[str, dict[str, float]]:
    """Seconds of a window without a recorder and of one with it, by each clock."""
    pair = {}
    for is_recorded in (recorded_first, not recorded_first):
        began = time.perf_counter()
        recorder = record("cost", output_dir=folder) if is_recorded else nullcontext()
        with recorder as run:
            window = _window(run.steps(batches) if run else batches, step)
        window["once"] = time.perf_counter() - began - window["clock"]
        pair["recorded" if run else "plain"] = window
    return pair


def _window(
    batches: Iterable[list[Tensor]], step: Callable[[list[Tensor]], None]
) -> dict[str, float]:
    """Seconds without the first steps: a recording looks at the machine, and caches are cold."""
    rest = iter(batches)
    for _ in range(_WARM_UP):
        step(next(rest))
    before = {name: clock() for name, clock in _CLOCKS.items()}
    for batch in rest:
        step(batch)
    return {name: clock() - before[name] for name, clock in _CLOCKS.items()}


def _host_us(batch: list[Tensor], folder: str) -> float:
    """Processor time of the recorder alone [µs a step]: its loop has no body."""
    num_steps = 20_000
    with record("cost", output_dir=folder) as run:
        rest = iter(run.steps([batch] * (num_steps + 2)))
        next(rest), next(rest)
        before = time.process_time()
        for _ in rest:
            pass
        return (time.process_time() - before) / num_steps * 1e6


def _row(name: str, found: Sequence[dict[str, dict[str, float]]], steps: int) -> dict[str, str]:
    ratios = [pair["recorded"][name] / pair["plain"][name] for pair in found]
    more = median(pair["recorded"][name] - pair["plain"][name] for pair in found)
    return {
        "seconds by": "the clock" if name == "clock" else "the processor, all threads",
        "ms per step": f"{median(pair['plain'][name] for pair in found) / steps * 1e3:.2f}",
        "times as long with recording": interval_text(ratios, "{:.4f}".format),
        "µs more per step": f"{more / steps * 1e6:.1f}",
        "n": str(len(found)),
    }


if __name__ == "__main__":
    raise SystemExit(main())
