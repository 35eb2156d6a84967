"""The data path alone: samples per second of each loader, with nothing trained.

The articles' torchvision transform per image, our streaming loader with and without workers, and
the resident set gathered on the device. Rounds of all loaders are interleaved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import transforms

from bench.suite_format import interval_text, ratio
from mnistbench.engine.data import streaming_batches
from mnistbench.training_benchmark import CLOCK
from mnistbench.workload.batches import (
    BatchPlan,
    Preprocess,
    epoch_order,
    resident_batches,
)
from mnistbench.workload.datasets import load_dataset

BATCH = 256
SAMPLES = {"smoke": 2_048, "quick": 20_480, "full": 59_904}
ROUNDS = {"smoke": 1, "quick": 6, "full": 11}
TRANSFORMS, STREAMING = "torchvision transforms", "streaming"
WORKERS, RESIDENT = "streaming, 2 workers", "resident"
LOADERS = (TRANSFORMS, STREAMING, WORKERS, RESIDENT)


@pytest.fixture(scope="module")
def measured(budget, make_config, report, device):
    """Seconds that each loader takes for the same samples in each round, after one to warm up."""
    config = make_config(val_size=0, eval_split="test")
    plan = BatchPlan(
        num_samples=60_000,
        global_batch_size=BATCH,
        num_steps=SAMPLES[budget] // BATCH,
        seed=0,
    )
    loaders = readers(config, plan, device)
    check_first_batches(loaders)
    rounds = [
        {name: read_all(read, device) for name, read in loaders.items()}
        for _ in range(ROUNDS[budget])
    ]
    for name in LOADERS:
        tabulate_loader(report.section("data path"), name, config, rounds, SAMPLES[budget])
    report.section("data path").note(
        f"batches of {BATCH}, normalised, on {device}; workers are started inside the time"
    )
    report.section("data path").note("medians of rounds run in turn (95 % interval from n = 6 on)")
    return config, rounds


def tabulate_loader(section, name, config, rounds, num_samples):
    speeds = [num_samples / taken[name] for taken in rounds]
    ratios = [taken[TRANSFORMS] / taken[name] for taken in rounds]
    section.add(
        {
            "loader": name,
            "dataset": config.dataset,
            "samples/s": interval_text(speeds, lambda x: f"{x:,.0f}"),
            "µs per sample": interval_text([1e6 / speed for speed in speeds], ratio),
            "times torchvision's": interval_text(ratios, lambda x: f"{x:.1f}"),
            "n": str(len(rounds)),
        },
        loader=name,
        samples_per_s=speeds,
    )


def readers(config, plan, device) -> dict[str, Callable[[], Iterator[torch.Tensor]]]:
    """For each loader, what yields its normalised images batch by batch."""
    loaded, transformed = (load_dataset(config.dataset, config) for _ in range(2))
    preprocess = Preprocess(mean=loaded.pixel_mean, std=loaded.pixel_std)
    images, labels = loaded.train.data.to(device), loaded.train.targets.to(device)
    normalise = transforms.Normalize(loaded.pixel_mean, loaded.pixel_std)
    transformed.train.transform = transforms.Compose([transforms.ToTensor(), normalise])

    def by_transforms():
        order = epoch_order(plan.num_samples, seed=plan.seed, epoch=0)[: plan.num_steps * BATCH]
        loader = DataLoader(transformed.train, batch_size=BATCH, sampler=order.tolist())
        return (batch.to(device) for batch, _ in loader)

    def streaming(num_workers):
        return streaming_batches(plan, dataset=loaded.train, device=device, num_workers=num_workers)

    def normalised(batches):
        return (preprocess(batch.images, batch.part) for batch in batches)

    return {
        TRANSFORMS: by_transforms,
        STREAMING: lambda: normalised(streaming(0)),
        WORKERS: lambda: normalised(streaming(2)),
        RESIDENT: lambda: normalised(resident_batches(plan, images=images, labels=labels)),
    }


def check_first_batches(loaders):
    """A loader that is fast because it reads something else would be no comparison."""
    first = {name: next(iter(read())) for name, read in loaders.items()}
    for name, batch in first.items():
        torch.testing.assert_close(
            batch, first[TRANSFORMS], msg=lambda message, name=name: f"{name}: {message}"
        )


def read_all(read, device) -> float:
    """Seconds to have every batch on the device."""
    started = time.perf_counter()
    for _ in read():
        pass
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.benchmark(group="data path", timer=CLOCK)
def bench_loader(benchmark, budget, measured, loader):
    config, rounds = measured
    durations_s = [taken[loader] for taken in rounds]
    CLOCK.replay(benchmark, durations_s)
    benchmark.extra_info |= {
        "samples_per_s": SAMPLES[budget] / median(durations_s),
        "dataset": config.dataset,
        "global_batch_size": BATCH,
        "num_steps": SAMPLES[budget] // BATCH,
    }
