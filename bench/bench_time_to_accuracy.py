"""Time to accuracy: the recipes, every target scored from one stored curve, seeds as rounds.

A recipe whose curve leaves its reference band (``mnistbench/analysis/references/``) fails: fast but
wrong is not fast. Left out, and without a reference: example-cnn, which takes some 20 minutes a
seed on two cores.
"""

from __future__ import annotations

import pytest

from bench.suite_format import HEADLINE, targets_rows
from mnistbench.analysis.reference_bands import check_against, packaged_references
from mnistbench.workload.recipes import RECIPES

MEASURED = {
    "smoke": ("simple-cnn", "fast-cnn"),
    "quick": ("simple-cnn", "cnn4-ce", "cnn4-mse", "dnn4-ce", "fast-cnn"),
    "full": tuple(name for name in RECIPES if name != "example-cnn"),
}
SEEDS = {"smoke": 1, "quick": 1, "full": 6}


def pytest_generate_tests(metafunc):
    if "recipe" in metafunc.fixturenames:
        metafunc.parametrize("recipe", MEASURED[metafunc.config.getoption("--bench-budget")])


@pytest.fixture(scope="module")
def measured(budget, chosen, make_config, train_in_turn):
    """Records of each chosen recipe."""

    def config(recipe):
        values = {"recipe": recipe, "target_accuracy": HEADLINE} | RECIPES[recipe].settings
        if budget == "smoke":
            values["max_steps"] = 8
        if budget == "quick":
            values["num_epochs"] = min(2, values["num_epochs"])
        return make_config(**values)

    configs = {recipe: config(recipe) for recipe in chosen("recipe")}
    return train_in_turn(configs, num_seeds=SEEDS[budget])


@pytest.mark.benchmark(group="time to accuracy")
def bench_recipe(training_benchmark, measured, report, *, recipe):
    records = measured[recipe]
    dataset = records[0].dataset.name
    training_benchmark(lambda: records, tables=False)
    head = {"recipe": recipe, "dataset": dataset, "epochs": f"{records[0].num_epochs:.3g}"}
    targets_rows(report, "time to accuracy", head, records=records)
    section = report.section("time to accuracy: seconds to target")
    section.pictures.setdefault("time-to-accuracy", []).extend(records)
    check_reference(section, recipe, records)


def check_reference(section, recipe, records):
    """Fail where a run's curve is not that of its recipe, and say where that could not be told."""
    dataset = records[0].dataset.name
    kept = {(reference.recipe, reference.dataset): reference for reference in packaged_references()}
    reference = kept.get((recipe, dataset))
    if reference is None:
        section.note(f"{recipe} on {dataset}: no reference curve to hold it to")
        return
    left = {record.seed: check_against(record, reference) for record in records}
    if None in left.values():
        section.note(f"{recipe}: too short to be held to its reference curve")
    wrong = {seed: where for seed, where in left.items() if where}
    assert not wrong, f"{recipe} left its reference band, by seed: {wrong}"
