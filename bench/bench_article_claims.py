"""The two articles' claims beside what is measured here, each with a verdict.

Article 000: "CNN Practice Workflow" (LeafLight, 2022); article 002: "Construct A Simple CNN for
Solving MNIST Image Classification with PyTorch" (What a starry night, 2023). The recipes repeat
their settings: all 60,000 images, the test set read after each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from bench.suite_format import HEADLINE, accuracy_after, shares, shares_text
from mnistbench.workload.recipes import RECIPES

SEEDS = {"smoke": 1, "quick": 1, "full": 6}
SHORTER = {"smoke": {"max_steps": 8}, "quick": {"num_epochs": 2}}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An accuracy that an article gives for a recipe after an epoch, as a range that fits it.

    `low` and `high` are fractions; a round figure is taken as plus or minus 5 points. With
    `against`, they bound how much higher the recipe ends than that one, seed by seed.
    """

    text: str
    recipe: str
    epoch: int
    low: float
    high: float
    changes: tuple[tuple[str, Any], ...] = ()
    against: str | None = None

    def runs(self) -> list[tuple[str, tuple[tuple[str, Any], ...]]]:
        """The recipe with its changes, and what it is held against."""
        mine = (self.recipe, self.changes)
        return [mine, (self.against, ())] if self.against else [mine]


CLAIMS = {
    "cnn4-mse-first-epoch": Claim(
        text="cnn4 with mse: about 30 % after the first epoch",
        recipe="cnn4-mse",
        epoch=1,
        low=0.25,
        high=0.35,
    ),
    "cnn4-mse-final": Claim(
        text="cnn4 with mse: rarely reaches 95 %", recipe="cnn4-mse", epoch=8, low=0.0, high=0.95
    ),
    "cnn4-ce-first-epoch": Claim(
        text="cnn4 with cross-entropy: 93 % after the first epoch",
        recipe="cnn4-ce",
        epoch=1,
        low=0.88,
        high=0.98,
    ),
    "cnn4-ce-final": Claim(
        text="cnn4 with cross-entropy: 97 % after eight epochs",
        recipe="cnn4-ce",
        epoch=8,
        low=0.965,
        high=1.0,
    ),
    "cnn4-mse-small-lr": Claim(
        text="cnn4 with mse, learning rate 0.001: about 10 %",
        recipe="cnn4-mse",
        epoch=8,
        low=0.05,
        high=0.15,
        changes=(("lr", 0.001),),
    ),
    "dnn4-mse": Claim(
        text="four linear layers with mse: about 90 %",
        recipe="dnn4-mse",
        epoch=8,
        low=0.85,
        high=0.95,
    ),
    "cnn4-against-dnn4": Claim(
        text="cnn4 a little higher than four linear layers, with mse",
        recipe="cnn4-mse",
        epoch=8,
        low=0.0,
        high=0.05,
        against="dnn4-mse",
    ),
    "simple-cnn-curve": Claim(
        text="simple-cnn: settles within ten epochs (the figure is a picture; taken as 98 to 99 %)",
        recipe="simple-cnn",
        epoch=10,
        low=0.98,
        high=0.99,
    ),
}


@pytest.fixture(scope="module")
def measured(budget, chosen, make_config, train_in_turn):
    """Records of each recipe that the chosen claims speak of, by its name and changes."""

    def config(recipe, changes):
        values = {"recipe": recipe, "target_accuracy": HEADLINE} | RECIPES[recipe].settings
        return make_config(**values | SHORTER.get(budget, {}) | dict(changes))

    wanted = [key for claim in chosen("claim") for key in CLAIMS[claim].runs()]
    configs = {key: config(*key) for key in dict.fromkeys(wanted)}
    return train_in_turn(configs, num_seeds=SEEDS[budget])


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.benchmark(group="article claims")
def bench_claim(training_benchmark, measured, report, *, claim):
    said = CLAIMS[claim]
    records, *others = (measured[key] for key in said.runs())
    values = [accuracy_after(record, said.epoch) for record in records]
    for other in others:
        against = [accuracy_after(record, said.epoch) for record in other]
        values = [difference(*pair) for pair in zip(values, against, strict=True)]
    training_benchmark(lambda: records, tables=False, may_diverge=True)
    dataset = records[0].dataset.name
    verdict = judge(said, values) if dataset == "mnist" else f"none: measured on {dataset}"
    section = report.section("article claims")
    tabulate_claim(section, said, dataset=dataset, values=values, verdict=verdict)
    if not said.changes:
        section.pictures.setdefault("article-claims", []).extend(records)
    training_benchmark.benchmark.extra_info |= {"claim": said.text, "verdict": verdict}


def difference(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def judge(said: Claim, values: Sequence[float | None]) -> str:
    """Whether all, none or some seeds fit the claim; one that diverged does not."""
    if all(value is None for value in values):
        return "not run long enough"
    fitting = sum(value is not None and said.low <= value <= said.high for value in values)
    if fitting in {0, len(values)}:
        return "holds" if fitting else "does not hold"
    return f"depends on the seed: {fitting} of {len(values)}"


def tabulate_claim(section, said, *, dataset, values, verdict):
    measured = [value for value in values if value is not None]
    section.add(
        {
            "the article": said.text,
            "taken as %": f"{100 * said.low:g} to {100 * said.high:g}",
            "dataset": dataset,
            "measured %": shares_text(shares(measured)),
            "n": str(len(measured)) if measured else str(len(values)),
            "verdict": verdict,
        },
        claim=said.text,
        recipe=said.recipe,
        changes=dict(said.changes),
        against=said.against,
        dataset=dataset,
        epoch=said.epoch,
        low=said.low,
        high=said.high,
        measured=list(values),
        verdict=verdict,
    )
    section.note("measured: median over n seeds (smallest–largest)")
