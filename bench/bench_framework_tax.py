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

from bench.cells import interval_text, ratio
from bench.plain_loops import train_bare, train_like_the_articles
from bench.run_clock import CLOCK
from mnistbench.engine.trainer import train
from mnistbench.workload.recipes import RECIPES

ARTICLE, BARE = "articles' loop", "bare PyTorch, resident"
STREAMING, RESIDENT = "stock, streaming", "stock, resident"
CHANNELS_FIRST = "stock, resident, channels first"
LOOPS = (ARTICLE, BARE, STREAMING, CHANNELS_FIRST, RESIDENT)
SAMPLES = {"smoke": 640, "quick": 12_800, "full": 57_600}
ROUNDS = {"smoke": 1, "quick": 6, "full": 11}
COMPARED_STEPS = 30


@pytest.fixture(scope="module", params=["simple-cnn", "cnn4-ce"])
def measured(request, budget, make_config, report, device):
    """Seconds of each loop in each round, after a round that does not count."""
    config = make_config(recipe=request.param, **RECIPES[request.param].settings)
    steps = max(SAMPLES[budget] // config.global_batch_size, 2)

    def ours(steps, **values):
        record = train(config.model_copy(update={"max_steps": steps} | values))[0]
        return record.phases_s["train"], [point.loss for point in record.train_points]

    loops = {
        ARTICLE: lambda steps: train_like_the_articles(config, num_steps=steps, device=device),
        BARE: lambda steps: train_bare(config, num_steps=steps, device=device),
        STREAMING: lambda steps: ours(steps, loader="streaming"),
        CHANNELS_FIRST: lambda steps: ours(steps, channels_last=False),
        RESIDENT: ours,
    }
    compared = min(steps, COMPARED_STEPS)
    apart = loss_differences({name: run(compared)[1] for name, run in loops.items()})
    rounds = [{name: run(steps)[0] for name, run in loops.items()} for _ in range(ROUNDS[budget])]
    section = report.section("framework tax")
    for name in LOOPS:
        taken_s = {"loop": name, "apart": apart[name], "steps": steps, "rounds": rounds}
        tabulate_loop(section, config, device, **taken_s)
    section.note(f"loss apart: largest relative difference in the first {compared} steps' losses")
    section.note("medians of rounds run in turn, ratios within a round (95 % interval from n = 6)")
    return config, rounds, steps


def loss_differences(losses):
    """How far each loop's losses are from the articles', at most; a loop that errs fails.

    Looked at while rounding has not yet been multiplied by many steps of training.
    """
    expected = torch.tensor(losses[ARTICLE])
    for name, curve in losses.items():
        torch.testing.assert_close(
            torch.tensor(curve),
            expected,
            rtol=1e-3,
            atol=1e-4,
            msg=lambda message, name=name: f"{name}: {message}",
        )
    return {
        name: float(((torch.tensor(curve) - expected) / expected).abs().max())
        for name, curve in losses.items()
    }


def tabulate_loop(section, config, device, *, loop, apart, steps, rounds):
    step_us = [1e6 * taken[loop] / steps for taken in rounds]
    section.add(
        {
            "recipe": config.recipe,
            "batch": str(config.global_batch_size),
            "dataset": config.dataset,
            "device × threads": f"{device.type} × {torch.get_num_threads()}",
            "loop": loop,
            "µs per step": interval_text(step_us, lambda x: f"{x:,.0f}"),
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
        largest_loss_difference=apart,
    )


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
        "dataset": config.dataset,
        "global_batch_size": config.global_batch_size,
        "num_steps": steps,
        "samples_per_s": steps * config.global_batch_size / median(durations_s),
    }
