"""Our loops beside the articles' own: same model, batches and fp32 arithmetic, run in turn.

Ours keep channels innermost in memory unless told otherwise, the articles' does not: one row shows
what that alone gives. The machine's speed drifts, so rounds are interleaved and ratios are taken
within a round. Speeds count only if the losses of all loops agree.
"""

from __future__ import annotations

from statistics import median

import pytest
import torch

from bench.article_loop import train_like_the_articles
from mnistbench.engine.trainer import train
from mnistbench.workload.recipes import RECIPES

ARTICLE, STREAMING, RESIDENT = "articles' loop", "stock, streaming", "stock, resident"
CHANNELS_FIRST = "stock, resident, channels first"
STEPS = {"smoke": 10, "quick": 150, "full": 900}
COMPARED_STEPS = 30
ROUNDS = {"smoke": 2, "quick": 5, "full": 11}


class RunClock:
    """A timer for pytest-benchmark that shows the run's own seconds, not those around it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def replay(self, duration_s: float) -> None:
        self.now_s += duration_s


CLOCK = RunClock()


@pytest.fixture(scope="module", params=["simple-cnn", "cnn4-ce"])
def measured(request, budget, make_config, report, dataset):
    """Seconds of each loop in each round, after a round that does not count."""
    config = make_config(recipe=request.param, **RECIPES[request.param].settings)
    steps = min(STEPS[budget], 60_000 // config.global_batch_size)

    def ours(**values):
        record = train(config.model_copy(update={"max_steps": steps} | values))[0]
        return record.phases_s["train"], [point.loss for point in record.train_points]

    loops = {
        ARTICLE: lambda: train_like_the_articles(config, num_steps=steps),
        STREAMING: lambda: ours(loader="streaming"),
        CHANNELS_FIRST: lambda: ours(loader="resident", channels_last=False),
        RESIDENT: lambda: ours(loader="resident"),
    }
    check_losses({name: run()[1] for name, run in loops.items()})
    rounds = [{name: run()[0] for name, run in loops.items()} for _ in range(ROUNDS[budget])]
    samples = steps * config.global_batch_size
    for name in loops:
        ratios = sorted(taken[ARTICLE] / taken[name] for taken in rounds)
        report(
            {
                "recipe": request.param,
                "batch": str(config.global_batch_size),
                "dataset": dataset,
                "threads": str(torch.get_num_threads()),
                "loop": name,
                "samples/s": f"{samples / median(taken[name] for taken in rounds):,.0f}",
                "times the articles'": f"{median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})",
                "n": str(len(rounds)),
            }
        )
    return request.param, config, samples, rounds


def check_losses(losses):
    """Equal to rounding while rounding has not yet been multiplied by many steps of training."""
    expected = torch.tensor(losses[ARTICLE][:COMPARED_STEPS])
    for name, curve in losses.items():
        torch.testing.assert_close(
            torch.tensor(curve[:COMPARED_STEPS]),
            expected,
            rtol=1e-3,
            atol=1e-4,
            msg=lambda message, name=name: f"{name}: {message}",
        )


@pytest.mark.parametrize("loop", [ARTICLE, STREAMING, CHANNELS_FIRST, RESIDENT])
@pytest.mark.benchmark(group="loops", timer=CLOCK)
def bench_loop(benchmark, measured, loop):
    recipe, config, samples, rounds = measured
    durations_s = iter([taken[loop] for taken in rounds])
    benchmark.pedantic(lambda: CLOCK.replay(next(durations_s)), rounds=len(rounds), iterations=1)
    benchmark.extra_info |= {
        "recipe": recipe,
        "model": config.model,
        "loss": config.loss,
        "samples_per_s": samples / benchmark.stats.stats.median,
    }
    assert benchmark.stats.stats.min > 0
