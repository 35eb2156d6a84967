"""Side by side: the published 0.76 s run, as its authors time it, and our own speed record.

``fast-cnn`` in plain PyTorch, as published: fp32, eager, channels first, one order of samples for
all seeds; its clock runs from building the model and the optimizer to the test accuracy. The clock
of ``speedrun-99`` is that of its record: training and the evaluation on the test set. Data lie on
the device before either begins. Each seed of the one is followed by the same seed of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import pytest
import torch

from bench.plain_loops import published_run
from bench.suite_format import interval_text, ratio, shares, shares_text
from mnistbench.analysis.number_text import seconds
from mnistbench.engine.run_seeds import train
from mnistbench.training_benchmark import CLOCK
from mnistbench.workload.recipes import RECIPES

PUBLISHED, OURS = "fast-cnn", "speedrun-99"
SPANS = {PUBLISHED: "plain PyTorch: build, train, test", OURS: "mnistbench: train, test"}
ROUNDS = {"smoke": 1, "quick": 2, "full": 10}
SMOKE_STEPS = 4


class Timed(NamedTuple):
    """One seed's run: its span [s] and its test accuracy [fraction]."""

    span_s: float
    accuracy: float


@pytest.fixture(scope="module")
def measured(budget, device, make_config, report):
    """Each side's run in each round; the round's number is the seed."""
    shorter = {}
    if budget == "smoke":  # compiling would take longer than all else
        shorter = {"max_steps": SMOKE_STEPS, "compile": False}
    theirs, ours = (
        make_config(recipe=name, **RECIPES[name].settings | shorter) for name in (PUBLISHED, OURS)
    )

    def run_ours(seed: int) -> tuple[float, float]:
        record = train(ours.model_copy(update={"seed": seed}))[0]
        span_s = record.phases_s["train"] + record.phases_s["eval"]
        return span_s, record.result.test_accuracy

    sides = {PUBLISHED: published_run(theirs, device=device), OURS: run_ours}
    rounds = [
        {side: Timed(*run(seed)) for side, run in sides.items()} for seed in range(ROUNDS[budget])
    ]
    for side in sides:
        tabulate_side(report.section("rival"), side, rounds, where=(theirs.dataset, device))
    return theirs.dataset, rounds


def tabulate_side(section, side: str, rounds: Sequence[Mapping[str, Timed]], *, where):
    dataset, device = where
    spans_s = [taken[side].span_s for taken in rounds]
    accuracy = shares(taken[side].accuracy for taken in rounds)
    faster = [taken[PUBLISHED].span_s / taken[side].span_s for taken in rounds]
    section.add(
        {
            "recipe": side,
            "run and timed": SPANS[side],
            "dataset": dataset,
            "device × threads": f"{device.type} × {torch.get_num_threads()}",
            "s": interval_text(spans_s, seconds),
            "test %": shares_text(accuracy),
            "times the published": interval_text(faster, ratio),
            "n": str(len(rounds)),
        },
        recipe=side,
        span_s=spans_s,
        test_accuracy=[taken[side].accuracy for taken in rounds],
        over_published=faster,
    )
    section.note("s: medians of rounds run in turn, ratios within one (95 % interval from n = 6)")
    section.note("test: median over seeds (smallest–largest)")


@pytest.mark.parametrize("side", SPANS)
@pytest.mark.benchmark(group="rival", timer=CLOCK)
def bench_side(benchmark, measured, side):
    dataset, rounds = measured
    CLOCK.replay(benchmark, [taken[side].span_s for taken in rounds])
    benchmark.extra_info |= {
        "recipe": side,
        "dataset": dataset,
        "test_accuracy": median(taken[side].accuracy for taken in rounds),
    }
