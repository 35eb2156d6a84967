"""Which of several is the best: what a comparison with it says of the others, and no more."""

import pytest

from mnistbench.analysis.best_config import select
from mnistbench.analysis.comparison import compare
from mnistbench.analysis.standing import order, standing
from mnistbench.schema.record import Throughput


@pytest.fixture
def make_group(make_record):
    def make(lr, speed, *, n=8, **changes):
        runs = [
            make_record(seed, throughput=Throughput(samples_per_s=speed + seed), **changes)
            for seed in range(n)
        ]
        return [r.model_copy(update={"config": r.config | {"lr": lr}}) for r in runs]

    return make


def test_the_best_and_those_that_are_not_surely_behind(make_group):
    groups = [make_group(0.1, 900.0), make_group(0.2, 1000.0), make_group(0.3, 1002.0)]
    assert order(groups, "samples_per_s") == [2, 1, 0]
    assert standing(groups, "samples_per_s") == (2, (1,), 2, "")
    assert compare(groups[2], groups[0]).rows[0].verdict == "slower"
    assert compare(groups[2], groups[1]).rows[0].verdict == "no difference seen"


def test_too_few_runs_are_never_surely_behind(make_group):
    groups = [make_group(0.1, 500.0, n=2), make_group(0.2, 1000.0, n=2)]
    assert standing(groups, "samples_per_s") == (1, (0,), 1, "n = 2 is too few")


def test_those_that_did_not_reach_a_target_are_compared_and_not_forgotten(make_group):
    name = "time_to_accuracy_s"
    fast = make_group(0.1, 1000.0, accuracies=(0.9, 0.98, 0.98))
    few = make_group(0.2, 1000.0, accuracies=(0.9, 0.95, 0.96))
    few[:3] = make_group(0.2, 1000.0, accuracies=(0.98, 0.98, 0.98))[:3]  # before any of fast
    none = make_group(0.3, 1000.0, accuracies=(0.9, 0.95, 0.96))
    assert standing([none, few, fast], name) == (2, (1,), 2, "")
    assert standing([none, fast], name) == (1, (), 1, "")
    assert standing([none], name) is None
    assert standing([none, few], name) is None


def test_what_lost_a_run_is_no_best_as_in_a_choice(make_group):
    lost = make_group(0.1, 1100.0)
    lost[3] = lost[3].model_copy(update={"status": "diverged"})
    groups = [lost, make_group(0.2, 1000.0), make_group(0.3, 900.0)]
    assert order(groups, "samples_per_s") == [1, 2, 0]
    assert standing(groups, "samples_per_s") == (1, (0,), 2, "")
    chosen = select([run for group in groups for run in group], "samples_per_s")
    assert chosen.winner.name.endswith(", lr 0.2")
