"""What it costs to read a training set from a memory-mapped file that is not in memory.

The file's pages are thrown out of memory before each reading, so that every image comes from the
disk: what a set far larger than memory meets. Alone, and while simple-cnn trains on the batches.
"""

from __future__ import annotations

import itertools
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest
import torch

from bench.suite_format import interval_text, ratio
from mnistbench.schema.config import RunConfig
from mnistbench.training_benchmark import CLOCK
from mnistbench.workload.batches import (
    Batch,
    BatchPlan,
    Preprocess,
    mapped_batches,
    resident_batches,
)
from mnistbench.workload.generated import DIGIT_SHAPE, generate_digits
from mnistbench.workload.image_set import ImageSet
from mnistbench.workload.losses import build_loss
from mnistbench.workload.mapped_files import ImageFile, MappedImages
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer

RESIDENT, CACHED = "resident", "mapped, in memory"
FROM_DISK, BLIND = "mapped, from the disk", "mapped, from the disk, not read ahead"
READINGS = (RESIDENT, CACHED, FROM_DISK, BLIND)
ALONE, TRAINING = "nothing", "simple-cnn"
IMAGES = {"smoke": 20_000, "quick": 600_000, "full": 600_000}
SAMPLES = {"smoke": 1_024, "quick": 8_192, "full": 16_384}
ROUNDS = {"smoke": 1, "quick": 3, "full": 11}
BATCH = 256


class Taken(NamedTuple):
    """Seconds for all batches, and how often the disk was waited for."""

    elapsed_s: float
    disk_waits: int


@pytest.fixture(scope="module")
def measured(budget, device, report):
    """What each reading took, alone and with training, in each round."""
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("this system has no call that throws a file out of memory")
    with tempfile.TemporaryDirectory() as folder:
        file = write_file(Path(folder) / "digits", IMAGES[budget])
        images, labels = tensors_of(file.open())
        resident = images.clone().to(device), labels.to(device)
        del images, labels  # what is mapped cannot be thrown out
        work = {ALONE: lambda _: None, TRAINING: trainer(device)}
        plans = [
            BatchPlan(
                num_samples=IMAGES[budget],
                global_batch_size=BATCH,
                num_steps=1 + SAMPLES[budget] // BATCH,
                seed=seed,
            )
            for seed in range(ROUNDS[budget])
        ]
        rounds = [
            {
                (reading, doing): take(
                    batches_of(reading, plan, file, resident=resident), work[doing], device
                )
                for reading, doing in itertools.product(READINGS, work)
            }
            for plan in plans
        ]
    for key in rounds[0]:
        tabulate_reading(report.section("mapped file"), key, rounds, budget)
    return rounds


def write_file(path: Path, num_images: int) -> ImageFile:
    """A file of `num_images`, drawn a few thousand and repeated: the disk does not care."""
    size = min(10_000, num_images)
    images, labels = generate_digits(size, seed=0, split="train")
    file = ImageFile(
        path=path,
        num_images=num_images,
        shape=DIGIT_SHAPE,
        blocks=lambda: itertools.repeat((images[:, None], labels), num_images // size),
    )
    file.ensure()
    with path.open("rb") as stream:
        os.fsync(stream.fileno())  # what is not yet on the disk cannot be thrown out
    return file


def tensors_of(mapped: MappedImages) -> tuple[torch.Tensor, torch.Tensor]:
    digits = ImageSet(mapped.images, mapped.labels)
    return digits.data, digits.targets


def batches_of(reading: str, plan: BatchPlan, file: ImageFile, *, resident) -> Iterator[Batch]:
    """The batches of `plan` by `reading`, with the file in memory or not as that asks."""
    images, labels = resident
    if reading == RESIDENT:
        return resident_batches(plan, images=images, labels=labels)
    with file.path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    device = images.device
    mapped = file.open()
    images, labels = tensors_of(mapped)
    if reading == CACHED:
        images.max()  # as a run's check of the file does: all of it is in memory, and mapped
    mapped.check(mapped.sha256)  # from here on in any order
    read_ahead = None if reading == BLIND else mapped.read_ahead
    return mapped_batches(plan, images=images, labels=labels, device=device, read_ahead=read_ahead)


def trainer(device: torch.device) -> Callable[[Batch], None]:
    """A plain step of simple-cnn."""
    config = RunConfig(model="simple-cnn")
    model = build_model(config, DIGIT_SHAPE).to(device).to(memory_format=torch.channels_last)
    optimizer, loss_fn = build_optimizer(model, config), build_loss(config)
    preprocess = Preprocess(mean=(0.13,), std=(0.3,))

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        loss_fn(model(preprocess(batch.images)), batch.labels).backward()
        optimizer.step()

    return step


def take(batches: Iterator[Batch], work: Callable[[Batch], None], device: torch.device) -> Taken:
    """Do `work` on all of `batches` but the first, before which the epoch's order is drawn."""
    next(batches)
    waits = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    started = time.perf_counter()
    for batch in batches:
        work(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    elapsed_s = time.perf_counter() - started
    return Taken(elapsed_s, resource.getrusage(resource.RUSAGE_SELF).ru_majflt - waits)


def tabulate_reading(section, key, rounds, budget):
    reading, doing = key
    speeds = [SAMPLES[budget] / taken[key].elapsed_s for taken in rounds]
    ratios = [taken[RESIDENT, doing].elapsed_s / taken[key].elapsed_s for taken in rounds]
    waits = [1e3 * taken[key].disk_waits / SAMPLES[budget] for taken in rounds]
    section.add(
        {
            "images are": reading,
            "meanwhile trains": doing,
            "samples/s": interval_text(speeds, lambda x: f"{x:,.0f}"),
            "times resident's": interval_text(ratios, ratio),
            "waits for the disk per 1,000": interval_text(waits, lambda x: f"{x:,.0f}"),
            "n": str(len(rounds)),
        },
        reading=reading,
        meanwhile=doing,
        samples_per_s=speeds,
        disk_waits_per_1000=waits,
    )
    section.note(
        f"batches of {BATCH} drawn at random from {IMAGES[budget]:,} images; medians of rounds run "
        "in turn (95 % interval from n = 6 on)"
    )
    section.note("from the disk: nothing of the file is in memory when a round begins")


@pytest.mark.parametrize("doing", [ALONE, TRAINING])
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.benchmark(group="mapped file", timer=CLOCK)
def bench_reading(benchmark, budget, measured, reading, doing):
    durations_s = [taken[reading, doing].elapsed_s for taken in measured]
    CLOCK.replay(benchmark, durations_s)
    benchmark.extra_info |= {
        "samples_per_s": SAMPLES[budget] / median(durations_s),
        "num_images": IMAGES[budget],
        "global_batch_size": BATCH,
        "disk_waits": median(taken[reading, doing].disk_waits for taken in measured),
    }
