"""What a checkpoint costs: milliseconds to save one, and training's speed between them.

A run that saves ten checkpoints and one that saves none are trained in turn, with the same seed.
The train clock stands still while one is saved, so its speed should not tell the two apart.
"""

from __future__ import annotations

import pytest

from bench.suite_format import interval_text, mark, ratio
from mnistbench.output.suite_tables import run_info
from mnistbench.training_benchmark import CLOCK
from mnistbench.workload.recipes import RECIPES

ROUNDS = {"smoke": 1, "quick": 3, "full": 20}
STEPS = {"smoke": 20, "quick": 100, "full": 400}
SAVES = 10
NAMES = ("simple-cnn", "cnn4-ce")


@pytest.fixture(scope="module")
def taken(budget, make_config, train_in_turn, chosen, report):
    """Records of both kinds of run, by recipe."""
    steps = STEPS[budget]
    kinds = {"plain": None, "saving": steps // SAVES}
    configs = {
        (recipe, kind): make_config(
            recipe=recipe,
            **RECIPES[recipe].settings,
            max_steps=steps,
            checkpoint_every_steps=every,
        )
        for recipe in chosen("recipe")
        for kind, every in kinds.items()
    }
    records = train_in_turn(configs, num_seeds=ROUNDS[budget])
    for recipe in chosen("recipe"):
        tabulate(report.section("checkpoints"), recipe, records)
    return records


def tabulate(section, recipe, records):
    plain, saving = records[recipe, "plain"], records[recipe, "saving"]
    save_ms = [1e3 * r.phases_s["checkpoint"] / r.checkpoints.saved for r in saving]
    ratios = [
        with_saves.throughput.samples_per_s / without.throughput.samples_per_s
        for with_saves, without in zip(saving, plain, strict=True)
    ]
    section.add(
        {
            "recipe": recipe,
            "parameters": f"{saving[0].num_parameters:,}",
            "ms per save": interval_text(save_ms, lambda x: f"{x:.1f}"),
            "samples/s, times those without": interval_text(ratios, ratio)
            + mark(section, [*plain, *saving]),
            "saves a run": str(saving[0].checkpoints.saved),
            "n": str(len(saving)),
        },
        recipe=recipe,
        save_ms=save_ms,
        samples_per_s_ratio=ratios,
    )
    section.note("medians over rounds in turn (95 % interval from n = 6); a save is all that it is")
    section.note("on the wall clock: gathering, writing, fsync and renaming")


@pytest.mark.parametrize("recipe", NAMES)
@pytest.mark.benchmark(group="checkpoints", timer=CLOCK)
def bench_save(benchmark, taken, recipe):
    records = taken[recipe, "saving"]
    CLOCK.replay(benchmark, [r.phases_s["checkpoint"] / r.checkpoints.saved for r in records])
    benchmark.extra_info |= run_info(records)
