"""What a framework costs: one model, one order of batches, one optimizer, in several loops.

The articles' own loop, a bare PyTorch loop over resident data, ours through Accelerate, and our
fast loop beside what a good user would write by hand with the same ingredients. The articles' loop
runs as a user runs it, in a process of its own; the others share this one. The machine's speed
drifts, so rounds are interleaved and ratios are taken within a round. Speeds count only if the
losses of all loops agree. Ours and the bare loop keep channels innermost in memory unless told
otherwise, the articles' does not: one row shows what that alone gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from statistics import median

import pytest
import torch

from bench.hand_written import train_by_hand
from bench.plain_loops import loss_differences, train_bare, train_like_the_articles
from bench.suite_format import interval_text, ratio
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.training_benchmark import CLOCK
from mnistbench.workload.recipes import RECIPES

ARTICLE, BARE = "articles' loop", "bare PyTorch, resident"
STREAMING, RESIDENT = "stock, streaming", "stock, resident"
CHANNELS_FIRST = "stock, resident, channels first"
STOCK = {STREAMING: {"loader": "streaming"}, CHANNELS_FIRST: {"channels_last": False}, RESIDENT: {}}
EAGER, COMPILED = "eager", "compiled"
FAST = {
    EAGER: {"cuda_graph": False, "compile": False},
    COMPILED: {"cuda_graph": False, "compile": True},
}
GRAPH = "fast, CUDA graph"
FLOORS = {"smoke": (EAGER,), "quick": (EAGER,), "full": (EAGER, COMPILED)}
SAMPLES = {"smoke": 640, "quick": 2_560, "full": 28_800}
ROUNDS = {"smoke": 1, "quick": 6, "full": 6}
COMPARED_STEPS = 30

Loop = Callable[[int], tuple[float, Sequence[float]]]
"""Seconds that so many steps took, and their losses."""


def fast(floor: str) -> str:
    return f"fast, {floor}"


def by_hand(floor: str) -> str:
    return f"hand-written, {floor}"


BY_HAND = {fast(floor): by_hand(floor) for floor in FAST}
"""Each fast loop, and the hand-written one with the same ingredients."""


def pytest_generate_tests(metafunc):
    if "loop" in metafunc.fixturenames:
        budget = metafunc.config.getoption("--bench-budget")
        on_cpu = metafunc.config.getoption("--bench-device") == "cpu"
        cuda = not on_cpu and torch.cuda.is_available()
        metafunc.parametrize("loop", loop_names(FLOORS[budget], cuda=cuda))


def loop_names(floors: Sequence[str], *, cuda: bool) -> list[str]:
    pairs = [name for floor in floors for name in (fast(floor), by_hand(floor))]
    return [ARTICLE, BARE, *STOCK, *pairs, *([GRAPH] if cuda else [])]


def own_process() -> Executor:
    """A fresh interpreter, which calls functions while this one waits."""
    threads = torch.get_num_threads()
    return ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (threads,))


@pytest.fixture(scope="module", params=["simple-cnn", "cnn4-ce"])
def measured(request, budget, make_config, report, device):
    """Seconds of each chosen loop in each round, after a round that does not count."""
    if budget != "full" and request.param != "simple-cnn":
        pytest.skip("the full budget's")
    settings = RECIPES[request.param].settings | {"loop": "stock", "mixed_precision": "no"}
    config = make_config(recipe=request.param, **settings)
    steps = max(SAMPLES[budget] // config.global_batch_size, 2)
    compared, rounds = min(steps, COMPARED_STEPS), []
    with own_process() as other:
        loops = loops_of(config, device, other)
        wanted = {ARTICLE, BARE, *request.getfixturevalue("chosen")("loop")}
        names = [
            name
            for name in loop_names(FLOORS[budget], cuda=device.type == "cuda")
            if name in wanted
        ]
        losses = {name: loops[name](compared)[1] for name in names}
        apart = loss_differences(losses, base=ARTICLE)
        for index in range(ROUNDS[budget]):
            order = names[:: -1 if index % 2 else 1]  # no loop always follows the same one
            rounds.append({name: loops[name](steps)[0] for name in order})
    section = report.section("framework tax")
    for name in names:
        taken_s = {"loop": name, "apart": apart[name], "steps": steps, "rounds": rounds}
        tabulate_loop(section, config, device, **taken_s)
    section.note(f"loss apart: largest relative difference in the first {compared} steps' losses")
    section.note("medians of rounds run in turn, ratios within a round (95 % interval from n = 6)")
    return config, rounds, steps


def loops_of(config: RunConfig, device: torch.device, other: Executor) -> dict[str, Loop]:
    """Every loop by its name; `config` is that of the stock loop, `other` runs the articles'."""

    def ours(num_steps, **values):
        record = train(config.model_copy(update={"max_steps": num_steps} | values))[0]
        return record.phases_s["train"], [point.loss for point in record.train_points]

    def plain(train_loop, **values):
        changed = config.model_copy(update=values)
        return lambda num_steps: train_loop(changed, num_steps=num_steps, device=device)

    def articles(num_steps):
        arguments = {"num_steps": num_steps, "device": device}
        return other.submit(train_like_the_articles, config, **arguments).result()

    loops = {ARTICLE: articles, BARE: plain(train_bare)}
    loops |= {name: partial(ours, **values) for name, values in STOCK.items()}
    for floor, values in FAST.items():
        loops[fast(floor)] = partial(ours, loop="fast", **values)
        loops[by_hand(floor)] = plain(train_by_hand, loop="fast", **values)
    return loops | {GRAPH: partial(ours, loop="fast")}


def tabulate_loop(section, config, device, *, loop, apart, steps, rounds):
    step_us = [1e6 * taken[loop] / steps for taken in rounds]
    other = BY_HAND.get(loop)
    hand = [taken[loop] / taken[other] for taken in rounds if other in taken]
    section.add(
        {
            "recipe": config.recipe,
            "batch": str(config.global_batch_size),
            "dataset": config.dataset,
            "device × threads": f"{device.type} × {torch.get_num_threads()}",
            "loop": loop,
            "µs per step": interval_text(step_us, lambda x: f"{x:,.0f}"),
            "times the hand-written's": (
                interval_text(hand, lambda x: f"{x:.3f}") if hand else NOT_MEASURED
            ),
            "times the bare loop's": interval_text([t[loop] / t[BARE] for t in rounds], ratio),
            "speed-up over the articles'": interval_text(
                [taken[ARTICLE] / taken[loop] for taken in rounds], ratio
            ),
            "loss apart": f"{apart:.0e}" if apart else "0",
            "n": str(len(rounds)),
        },
        recipe=config.recipe,
        loop=loop,
        step_us=step_us,
        over_hand_written=hand,
        largest_loss_difference=apart,
    )


@pytest.mark.benchmark(group="framework tax", timer=CLOCK)
def bench_loop(benchmark, measured, loop):
    config, rounds, steps = measured
    durations_s = [taken[loop] for taken in rounds]
    CLOCK.replay(benchmark, durations_s)
    benchmark.extra_info |= {
        "recipe": config.recipe,
        "model": config.model,
        "loss": config.loss,
        "dataset": config.dataset,
        "global_batch_size": config.global_batch_size,
        "num_steps": steps,
        "samples_per_s": steps * config.global_batch_size / median(durations_s),
    }
