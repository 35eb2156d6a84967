"""Does the verdict on what limits a run name a bottleneck that was planted?

Six are planted, each in runs that differ in network, batch and size: a slow loader, a tiny batch, a
large matrix product, a big copy, a slowed link, a busy neighbour. What is named is counted in a
confusion matrix, kept in ``bench/results/limits/``. The slowed link needs root (network
namespaces); without, its row is left out and the page says so.

    python -m bench.validate_limits                     # about 10 minutes on two quiet cores
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn

from bench.bench_link import Cell, run_on_machines
from bench.network_link import why_no_links
from bench.publishing import publish
from mnistbench.analysis.bottleneck import LIMITS, Limit, limits, limits_line
from mnistbench.engine import data
from mnistbench.engine.run_seeds import train
from mnistbench.output.tables import render_table
from mnistbench.recorder.environment import describe_environment
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord
from mnistbench.workload.models import MODELS

RESULTS = Path(__file__).parent / "results" / "limits"
TRIALS = RESULTS / "confusion.json"
NETWORKS = ("simple-cnn", "lenet5", "cnn2", "mlp", "cnn4")


class Plant(NamedTuple):
    """A bottleneck, and a function that makes one run that has it."""

    limit: Limit
    what: str
    run: Callable[[random.Random, Path], RunRecord]


class Trial(NamedTuple):
    """What was planted in a run, and what it was found to be limited by."""

    planted: Limit
    named: str
    model: str
    global_batch_size: int
    said: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--planted", choices=LIMITS, nargs="+", default=LIMITS, help="only these; others are kept"
    )
    arguments = parser.parse_args()
    missing = why_no_links()
    for plant in PLANTS:
        if plant.limit in arguments.planted and not (missing and plant.run is slowed_link):
            draw = random.Random(f"{arguments.seed} {plant.limit}")  # noqa: S311 - not for secrets
            keep(plant, [once(plant, draw) for _ in range(arguments.trials)])
    write(missing)


def once(plant: Plant, draw: random.Random) -> Trial:
    """One trial, said on a line."""
    with tempfile.TemporaryDirectory() as folder:
        record = plant.run(draw, Path(folder))
    verdict = limits(record)
    trial = Trial(
        planted=plant.limit,
        named=verdict.name if verdict else "nothing",
        model=record.config["model"],
        global_batch_size=record.environment["global_batch_size"],
        said=limits_line(record) or "",
    )
    print(
        f"{plant.what} ({trial.model}, batch {trial.global_batch_size}): {trial.said}", flush=True
    )
    return trial


def kept() -> list[Trial]:
    """The trials so far, of all that was planted."""
    if not TRIALS.exists():
        return []
    return [Trial(**trial) for trial in json.loads(TRIALS.read_text(encoding="utf-8"))]


def keep(plant: Plant, trials: list[Trial]) -> None:
    """Put `trials` in the place of earlier ones of the same plant."""
    others = [trial for trial in kept() if trial.planted != plant.limit]
    RESULTS.mkdir(parents=True, exist_ok=True)
    values = [trial._asdict() for trial in (*others, *trials)]
    TRIALS.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def write(missing: str | None) -> None:
    """The confusion matrix; `missing` says why there is no slowed link, if so."""
    rows = []
    for plant in PLANTS:
        named = Counter(trial.named for trial in kept() if trial.planted == plant.limit)
        if named:
            counts = {limit: str(named[limit] or "·") for limit in (*LIMITS, "nothing")}
            right = f"{named[plant.limit]} of {named.total()}"
            rows.append({"planted": plant.what, **counts, "right": right})
    machine = describe_environment(torch.device("cpu"))
    how = (
        f"\n`python -m bench.validate_limits`: {machine['device_name']}, "
        f"{machine['num_usable_cores']} cores, torch {machine['versions']['torch']}. Each trial is "
        "a run of its own network, batch and size; how a bottleneck is planted is in the script, "
        "what was said of each trial in `confusion.json`."
    )
    text = ["# What was planted, and what was named\n", render_table(rows, "markdown"), how]
    if missing:
        text.append(f"\nNo slowed link here: {missing}.")
    publish("\n".join(text), RESULTS, "confusion")


def run(folder: Path, **values: object) -> RunRecord:
    """A short run that is diagnosed."""
    settings = {"dataset": "synthetic", "synthetic_train_size": 12_000, "val_size": 2_000}
    limit = {"max_steps": 30, "num_epochs": 100, "diagnose": True, "output_dir": str(folder)}
    [record] = train(RunConfig(**settings | limit | values))
    return record


def slow_loader(draw: random.Random, folder: Path) -> RunRecord:
    """A pause in the loader, two to five times as long as the step."""
    values = {"model": draw.choice(NETWORKS), "global_batch_size": draw.choice((32, 64, 128))}
    pause_s = draw.uniform(2, 5) * run(folder, **values).step_costs.step_s
    collate = data._collate  # noqa: SLF001 - the seam at which a loader can be slowed

    def slow(samples):
        time.sleep(pause_s)
        return collate(samples)

    with patch.object(data, "_collate", slow):
        return run(folder, loader="streaming", **values)


def tiny_batch(draw: random.Random, folder: Path) -> RunRecord:
    """One to four images at a time: hardly anything but calls."""
    return run(
        folder,
        model=draw.choice(("simple-cnn", "lenet5", "cnn2", "linear", "resnet-mini")),
        global_batch_size=draw.randint(1, 4),
        loop=draw.choice(("fast", "stock")),
        max_steps=100,
    )


class Products(nn.Module):
    """A stack of square matrix products."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        layers = [nn.Linear(width, width) for _ in range(depth)]
        self.stack = nn.Sequential(nn.Flatten(), nn.Linear(784, width), *layers)
        self.last = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.stack(images))


class Copies(nn.Module):
    """Images laid side by side and multiplied by one, again and again."""

    def __init__(self, repeats: int, times: int) -> None:
        super().__init__()
        self.repeats, self.times = repeats, times
        self.last = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1).repeat(1, self.repeats)
        for _ in range(self.times):
            pixels = pixels * 1.0
        return self.last(pixels.unflatten(1, (self.repeats, 784)).mean(dim=1))


def large_product(draw: random.Random, folder: Path) -> RunRecord:
    """Networks of little but large matrix products."""
    width, depth = draw.choice((1024, 1536, 2048)), draw.randint(1, 3)
    with planted_model(lambda _: Products(width, depth)):
        return run(folder, model="mlp", global_batch_size=draw.choice((512, 1024)), max_steps=5)


def big_copy(draw: random.Random, folder: Path) -> RunRecord:
    """Networks that do little but move large tensors."""
    repeats, times = draw.randint(20, 40), draw.randint(4, 10)
    with planted_model(lambda _: Copies(repeats, times)):
        return run(folder, model="mlp", global_batch_size=draw.choice((256, 512)), max_steps=5)


@contextmanager
def planted_model(build: Callable[[RunConfig], nn.Module]) -> Iterator[None]:
    with patch.dict(MODELS, {"mlp": build}):
        yield


def slowed_link(draw: random.Random, folder: Path) -> RunRecord:
    """Two machines of one process, with a cable that is far too slow."""
    flags = [
        *("--dataset", "synthetic", "--synthetic-train-size", "12000", "--val-size", "2000"),
        *("--model", draw.choice(("simple-cnn", "lenet5", "cnn2")), "--max-steps", "20"),
        *("--global-batch-size", str(draw.choice((64, 128, 256))), "--num-threads", "1"),
        *("--loop", draw.choice(("fast", "stock")), "--num-epochs", "100"),
        *("--diagnose", "--quiet", "--output-dir", str(folder)),
    ]
    return run_on_machines(Cell(megabits_per_s=draw.choice((2, 4, 8))), flags, folder)


def busy_neighbour(draw: random.Random, folder: Path) -> RunRecord:
    """Something else that computes on every core."""
    neighbours = start_neighbours(os.cpu_count() or 1)
    try:
        return run(
            folder,
            model=draw.choice(NETWORKS),
            global_batch_size=draw.choice((32, 64, 256)),
            loader=draw.choice(("resident", "streaming")),
        )
    finally:
        for pid in neighbours:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def start_neighbours(number: int) -> list[int]:
    """Processes that spin for ten minutes at most, and nobody's children: ours would be ours."""
    spin = "import time; end = time.time() + 600\nwhile time.time() < end: pass"
    start = (  # nor do they hold the pipe through which their names come
        "import subprocess, sys; "
        f"print(subprocess.Popen([sys.executable, '-c', {spin!r}], stdout=subprocess.DEVNULL).pid)"
    )
    return [
        int(subprocess.check_output([sys.executable, "-c", start], text=True))  # noqa: S603
        for _ in range(number)
    ]


PLANTS = (
    Plant("loader-bound", "a slow loader", slow_loader),
    Plant("launch-bound", "a tiny batch", tiny_batch),
    Plant("compute-bound", "a large matrix product", large_product),
    Plant("memory-bound", "a big copy", big_copy),
    Plant("communication-bound", "a slowed link", slowed_link),
    Plant("host-noise", "a busy neighbour", busy_neighbour),
)


if __name__ == "__main__":
    main()
