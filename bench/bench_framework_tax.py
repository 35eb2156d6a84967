"""What a framework costs: one model, one order of batches, one optimizer, in several loops.

The articles' own loop, a bare PyTorch loop over resident data, and ours through Accelerate. The
machine's speed drifts, so rounds are interleaved and ratios are taken within a round. Speeds count
only if the losses of all loops agree. Ours and the bare loop keep channels innermost in memory
unless told otherwise, the articles' does not: one row shows what that alone gives.
"""

from __future__ import annotations

from statistics import median

import pytest
import torch

from bench.cells import ratio_text
from bench.plain_loops import train_bare, train_like_the_articles
from bench.run_clock import CLOCK
from mnistbench.analysis.statistics import median_interval
from mnistbench.engine.trainer import train
from mnistbench.workload.recipes import RECIPES

ARTICLE, BARE = "articles' loop", "bare PyTorch, resident"
STREAMING, RESIDENT = "stock, streaming", "stock, resident"
CHANNELS_FIRST = "stock, resident, channels first"
LOOPS = (ARTICLE, BARE, STREAMING, CHANNELS_FIRST, RESIDENT)
STEPS = {"smoke": 10, "quick": 100, "full": 900}
ROUNDS = {"smoke": 1, "quick": 6, "full": 11}
COMPARED_STEPS = 30


@pytest.fixture(scope="module", params=["simple-cnn", "cnn4-ce"])
def measured(request, budget, make_config, report, device):
    """Seconds of each loop in each round, after a round that does not count."""
    config = make_config(recipe=request.param, **RECIPES[request.param].settings)
    steps = min(STEPS[budget], 60_000 // config.global_batch_size)

    def ours(steps, **values):
        record = train(config.model_copy(update={"max_steps": steps} | values))[0]
        return record.phases_s["train"], [point.loss for point in record.train_points]

    loops = {
        ARTICLE: lambda steps: train_like_the_articles(config, num_steps=steps),
        BARE: lambda steps: train_bare(config, num_steps=steps, device=device),
        STREAMING: lambda steps: ours(steps, loader="streaming"),
        CHANNELS_FIRST: lambda steps: ours(steps, channels_last=False),
        RESIDENT: ours,
    }
    compared = min(steps, COMPARED_STEPS)
    check_losses({name: run(compared)[1] for name, run in loops.items()})
    report.section("framework tax").note(
        f"losses of the first {compared} steps of all loops agreed (rtol 1e-3)"
    )
    rounds = [{name: run(steps)[0] for name, run in loops.items()} for _ in range(ROUNDS[budget])]
    tabulate_loops(report.section("framework tax"), config, rounds, steps)
    return config, rounds, steps


def check_losses(losses):
    """Equal to rounding while rounding has not yet been multiplied by many steps of training."""
    expected = torch.tensor(losses[ARTICLE])
    for name, curve in losses.items():
        torch.testing.assert_close(
            torch.tensor(curve),
            expected,
            rtol=1e-3,
            atol=1e-4,
            msg=lambda message, name=name: f"{name}: {message}",
        )


def tabulate_loops(section, config, rounds, steps):
    for name in LOOPS:
        step_us = median(1e6 * taken[name] / steps for taken in rounds)
        against = median_interval([taken[name] / taken[BARE] for taken in rounds])
        faster = median_interval([taken[ARTICLE] / taken[name] for taken in rounds])
        section.add(
            {
                "recipe": config.recipe,
                "batch": str(config.global_batch_size),
                "dataset": config.dataset,
                "threads": str(torch.get_num_threads()),
                "loop": name,
                "µs per step": f"{step_us:,.0f}",
                "times the bare loop's": ratio_text(against),
                "speed-up over the articles'": ratio_text(faster),
                "n": str(len(rounds)),
            },
            recipe=config.recipe,
            loop=name,
            step_s=[taken[name] / steps for taken in rounds],
        )
    section.note("medians of ratios within rounds run in turn, with 95 % intervals from n = 6 on")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.benchmark(group="framework tax", timer=CLOCK)
def bench_loop(benchmark, measured, loop):
    config, rounds, steps = measured
    durations_s = [taken[loop] for taken in rounds]
    CLOCK.replay(benchmark, durations_s)
    benchmark.extra_info |= {
        "recipe": config.recipe,
        "model": config.model,
        "loss": config.loss,
        "samples_per_s": steps * config.global_batch_size / median(durations_s),
    }
