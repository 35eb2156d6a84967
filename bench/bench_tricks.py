"""Tricks: what dropout, pooling, regularisation, augmentation and depth each add.

Article 000's sixth step, on its kind of network: two to four convolutions, two to four linear
layers. Each trick is one change of the plain network; seeds are paired, so that both sides of a
difference saw the same samples in the same order.
"""

from __future__ import annotations

import pytest

from bench.suite_format import counted_text, interval_text, mark, ratio, shares, shares_text
from mnistbench.analysis.number_text import NOT_MEASURED

PLAIN = {
    "model": "cnn",
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "global_batch_size": 128,
    "num_epochs": 2,
}
NO_TRICK = "none: 2 + 2 layers, max pooling"
TRICKS = {
    NO_TRICK: {},
    "dropout 0.25": {"dropout": 0.25},
    "average pooling": {"pooling": "average"},
    "stride instead of pooling": {"pooling": "stride"},
    "weight decay 5e-4": {"weight_decay": 5e-4},
    "label smoothing 0.1": {"loss": "label-smoothing"},
    "batch norm": {"batch_norm": True},
    "shift by up to 2 pixels": {"augment": ("shift",)},
    "turn by up to 10 degrees": {"augment": ("rotate",)},
    "3 + 3 layers": {"conv_layers": 3, "linear_layers": 3},
    "4 + 4 layers": {"conv_layers": 4, "linear_layers": 4},
}
SEEDS = {"smoke": 1, "quick": 2, "full": 6}
SHORTER = {"smoke": {"max_steps": 4}, "quick": {"max_steps": 50}}


@pytest.fixture(scope="module")
def measured(budget, chosen, make_config, train_in_turn):
    """Records of the plain network and of each chosen trick."""
    settings = PLAIN | SHORTER.get(budget, {})
    names = dict.fromkeys((NO_TRICK, *chosen("trick")))
    configs = {name: make_config(**settings | TRICKS[name]) for name in names}
    return train_in_turn(configs, num_seeds=SEEDS[budget])


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.benchmark(group="tricks")
def bench_trick(training_benchmark, measured, report, *, trick):
    records, plain = measured[trick], measured[NO_TRICK]
    training_benchmark(lambda: records, tables=False, may_diverge=True)
    section = report.section("tricks")
    accuracy = shares(
        record.result.test_accuracy for record in records if record.status == "completed"
    )
    pairs = [
        (record, other)
        for record, other in zip(records, plain, strict=True)
        if record.status == other.status == "completed"
    ]
    gained = shares(a.result.test_accuracy - b.result.test_accuracy for a, b in pairs)
    cost = [a.phases_s["train"] / b.phases_s["train"] for a, b in pairs]
    section.add(
        {
            "trick": trick,
            "dataset": records[0].dataset.name,
            "parameters": f"{records[0].num_parameters:,}",
            "steps": f"{records[0].num_steps:,}",
            "test %": shares_text(accuracy),
            "adds, points": shares_text(gained) if TRICKS[trick] else NOT_MEASURED,
            "times the plain one's train time": (
                interval_text(cost, ratio) + mark(section, records) if cost else NOT_MEASURED
            ),
            "n": counted_text(records),
        },
        trick=trick,
        changes=TRICKS[trick],
        test_accuracy=accuracy and accuracy._asdict(),
        added=gained and gained._asdict(),
        train_time_ratios=cost,
    )
    section.note("test %: median over n seeds (smallest–largest); adds: of pairs of one seed")
    section.note("train time: median of ratios of runs of one seed, with its 95 % interval")
    training_benchmark.benchmark.extra_info |= {"trick": trick}
