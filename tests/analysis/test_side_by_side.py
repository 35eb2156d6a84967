"""Times to a target of runs that shared cores: their steps times seconds per step alone."""

import math
import random
from dataclasses import replace
from statistics import median

import pytest

from mnistbench.analysis.best_config import select
from mnistbench.analysis.comparison import compare
from mnistbench.analysis.metrics import METRICS, score_target
from mnistbench.analysis.samples import Sample
from mnistbench.analysis.scoring import reading_to_target, target_of
from mnistbench.analysis.stability import mark_notes, spoiled, time_mark
from mnistbench.schema.errors import InputError
from mnistbench.stats.readings import Reading, factor_spread, with_spread
from mnistbench.stats.survival import median_reading
from tests.made_records import make_record

TIME = "time_to_accuracy_s"
WINDOWS = [0.1, 0.3, 0.2]


def beside(seed=0, *, alone=False, windows=WINDOWS, steps=(10, 20, 30), lr=0.1, **changes):
    """A run that shared its cores, whose evaluations were after so many `steps`."""
    threads = changes.pop("alone_threads", 2)
    record = make_record(seed, **changes)
    points = [replace(p, step=step) for p, step in zip(record.eval_points, steps, strict=True)]
    return record.model_copy(
        update={
            "run_id": f"run-{lr}-{seed}",
            "config": record.config | {"lr": lr, "eval_split": "val"},
            "environment": record.environment | {"measured_alone": alone},
            "eval_points": [replace(p, split="val") for p in points],
            "alone_step_s": windows and list(windows),
            "alone_threads": threads if windows else None,
            "alone_at": "2026-01-01T00:00:00+00:00" if windows else None,
        }
    )


def group(rng, *, lr, step_s=0.1, scale=1.0, noise=0.01, n=6, **changes):
    """Runs to 97 % in some 100 × `scale` steps, with six windows around `step_s`."""
    windows = [step_s * rng.lognormvariate(0, noise) for _ in range(6)]
    made = []
    for seed in range(n):
        at = max(2, round(1000 * scale * rng.lognormvariate(0, 0.05)))
        its = {"steps": (1, at - 1, at), "num_steps": at, "windows": windows}
        made.append(beside(seed, lr=lr, **its | changes))
    return made


@pytest.mark.parametrize(
    ("changes", "asked", "expected"),
    [
        ({}, 0.97, (4.0, 6.0)),  # after step 20, by step 30, of 0.2 s each
        ({}, 0.99, (6.0, math.inf)),  # censored at its end
        ({"status": "diverged"}, 0.99, (math.inf, math.inf)),
        ({"alone": True, "steps": (1, 2, 3)}, 0.97, (4.0, 6.0)),
        ({"windows": None, "steps": (1, 2, 3)}, 0.97, (4.0, 6.0)),
        ({"steps": (1, 2, 3)}, 0.97, (0.4, 0.6)),
    ],
)
def test_time_to_target_is_steps_times_seconds_per_step_alone(changes, asked, expected):
    record = beside(**changes)
    found = reading_to_target(record, target_of(record, asked))
    assert found[:2] == pytest.approx(expected)
    assert METRICS["steps_to_accuracy"].of([record], asked).n == 1


def test_time_that_failed_runs_spent_is_of_the_same_clock():
    runs = [beside(0), beside(1, accuracies=(0.9, 0.9, 0.9))]
    assert score_target(runs, 0.97).expected_s.value == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("windows", "mark", "why"),
    [
        (WINDOWS, "×", None),
        (None, "‡", "2 of 2 runs were measured beside other runs"),
    ],
)
def test_it_has_a_mark_of_its_own_and_other_times_keep_theirs(windows, mark, why):
    runs = [beside(seed, windows=windows) for seed in (0, 1)]
    assert time_mark(runs, to_target=True) == mark
    assert "‡" in time_mark(runs)
    assert spoiled(runs, to_target=True) == why
    assert spoiled(runs) == "2 of 2 runs were measured beside other runs"
    notes = mark_notes([runs], to_target=True)
    assert [note[0] for note in notes] == [mark]
    if windows:
        assert notes[0].endswith(
            "steps side by side × seconds per step alone (3 windows, 2 threads)"
        )
        assert mark_notes([runs])[0].endswith("no time verdict but on ×")


def test_the_interval_has_both_uncertainties():
    steps = [Reading.of(x) for x in (90.0, 95.0, 100.0, 105.0, 110.0, 120.0)]
    exact = median_reading([reading.times([0.5, 0.5]) for reading in steps])
    assert exact == median_reading([Reading.of(reading.low * 0.5) for reading in steps])
    found = median_reading([reading.times([0.45, 0.5, 0.55]) for reading in steps])
    assert found.value == exact.value
    assert found.low < exact.low
    assert found.high > exact.high
    assert with_spread(2.0, None, 3.0, math.log(1.5)) == (None, pytest.approx(2 * 1.5**2**0.5))


def test_the_interval_covers_the_product_as_often_as_it_says():
    rng, inside, trials = random.Random(0), 0, 400
    for _ in range(trials):
        windows = [rng.lognormvariate(0, 0.1) for _ in range(6)]
        steps = [Reading.of(rng.lognormvariate(0, 0.1)) for _ in range(6)]
        found = median_reading([reading.times(windows) for reading in steps])
        inside += found.low <= 1 <= found.high
    assert inside / trials > 0.93


def test_a_median_that_half_did_not_reach_keeps_its_lower_end():
    readings = [Reading(9.0, 10.0), *(Reading(30.0, math.inf) for _ in range(9))]
    steps = median_reading(readings)
    found = median_reading([reading.times([0.9, 1.0, 1.1]) for reading in readings])
    assert found.value is None
    assert found.low == pytest.approx(steps.low * math.exp(-factor_spread([0.9, 1.0, 1.1])))


@pytest.mark.parametrize(
    ("a", "b", "verdict", "why"),
    [
        ({}, {"scale": 0.5}, "faster", None),
        ({}, {"step_s": 0.05}, "faster", None),  # as many steps, each half as long
        ({"scale": 0.5, "step_s": 0.2}, {}, "no difference seen", None),
        ({}, {"scale": 0.5, "noise": 0.5}, "no verdict", "what is known of seconds per step"),
        ({}, {"scale": 0.5, "windows": None}, "no verdict", "of B were measured beside other"),
        ({}, {"scale": 0.5, "alone_threads": 1}, "no verdict", "different num_threads"),
        ({}, {"scale": 0.5, "alone": True}, "no verdict", "different num_threads, timing"),
    ],
)
def test_two_such_sides_get_a_verdict_by_steps_and_seconds(a, b, verdict, why):
    rng = random.Random(1)
    runs = group(rng, lr=0.1, **a), group(rng, lr=0.2, **b)
    table = compare(*runs, metrics=[TIME, "samples_per_s"])
    row, speed = table.rows
    assert row.verdict == verdict
    assert why is None or why in row.reason
    assert speed.verdict == "no verdict"
    if verdict == "faster":
        assert row.change.estimate == pytest.approx(-0.5, abs=0.05)
        assert row.change.low < row.change.estimate < row.change.high < 0
        said = "time to target: steps side by side × seconds per step alone (6 windows, 2 threads)"
        assert said in table.notes
        assert row.caveat is None
        later = [run.model_copy(update={"alone_at": "2026-01-02"}) for run in runs[1]]
        caveat = compare(runs[0], later, metrics=[TIME]).rows[0].caveat
        assert caveat == "seconds per step were not measured in turn"


def test_sides_that_mix_products_and_own_clocks_alike_get_no_verdict():
    rng = random.Random(1)
    a, b = (
        group(rng, lr=lr, scale=lr)[:3] + group(rng, lr=lr, scale=lr, alone=True)[3:]
        for lr in (1.0, 0.5)
    )
    row = compare(a, b, metrics=[TIME]).rows[0]
    assert (row.verdict, row.reason) == ("no verdict", "different timing")


def test_equals_rarely_get_a_verdict():
    rng, p = random.Random(2), []
    for _ in range(200):
        sides = (group(rng, lr=lr, noise=0.03) for lr in (0.1, 0.2))
        a, b = (METRICS[TIME].samples(runs) for runs in sides)
        p.append(Sample(metric=METRICS[TIME], a=a, b=b, paired=False).p_value())
    assert sum(x < 0.05 for x in p) <= 10
    assert median(p) > 0.4


def test_a_bound_is_tested_with_the_same_uncertainty():
    rng = random.Random(4)
    sides = (group(rng, lr=lr, noise=0.2) for lr in (0.1, 0.2))
    a, b = (METRICS[TIME].samples(runs) for runs in sides)
    sample = Sample(metric=METRICS[TIME], a=a, b=b, paired=False)
    assert sample.moved(0.1).factor_spread(0.95) == sample.factor_spread(0.95) > 0


def test_a_choice_by_such_times_knows_both_uncertainties():
    def choice(**changes):
        rng = random.Random(3)
        return select(group(rng, lr=0.1) + group(rng, lr=0.2, scale=0.8, **changes), TIME)

    sure, unsure = choice(), choice(noise=0.6)
    assert sure.winner.share > 0.99 > unsure.winner.share
    with pytest.raises(InputError, match="were measured beside other runs"):
        choice(windows=None)
    with pytest.raises(InputError, match=r"of different timing \(its own clock, steps"):
        choice(alone=True)
