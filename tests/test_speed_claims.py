"""A claim of a speed record: its arithmetic against SciPy's, and the runs it cannot be made of."""

from dataclasses import replace
from statistics import fmean, median, stdev

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from bench.speed_record import SIGNIFICANCE, SpeedRun, judge_claim, speed_runs
from mnistbench.analysis.metrics import METRICS
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import PHASES, Result
from tests.made_records import profiled

FRACTIONS = st.integers(0, 10_000).map(lambda correct: correct / 10_000)
CLOCKS_S = st.floats(1e-3, 1e3)


def speed_run(seed, accuracy, train_s, eval_s):
    return SpeedRun(seed=seed, test_accuracy=accuracy, train_s=train_s, eval_s=eval_s)


def runs_of(accuracies, train_s=1.0, eval_s=0.1):
    return [speed_run(seed, a, train_s + seed, eval_s) for seed, a in enumerate(accuracies)]


@pytest.fixture
def make_run(make_record):
    """A run as a claim wants it: the test set read once, at its end."""

    def make(seed, accuracy=0.99, **changes):
        phases_s = dict.fromkeys(PHASES, 0.0) | {"compile": 9.0, "train": 0.5 + seed, "eval": 0.25}
        return make_record(seed, (accuracy,), **{"phases_s": phases_s} | changes)

    return make


@given(accuracies=st.lists(FRACTIONS, min_size=2, max_size=40), target=FRACTIONS)
def test_p_is_scipys_one_sided_t_test_and_decides(accuracies, target):
    assume(stdev(accuracies) > 0)
    claim = judge_claim(runs_of(accuracies), target)
    p_value = stats.ttest_1samp(accuracies, target, alternative="greater").pvalue
    assert claim.p_value == pytest.approx(p_value, rel=1e-6, abs=1e-15)
    assert claim.claimed == (claim.p_value < SIGNIFICANCE)
    assert claim.mean_accuracy == pytest.approx(fmean(accuracies))
    assert claim.sd_accuracy == pytest.approx(stdev(accuracies))
    assert claim.n == len(accuracies)


@given(st.lists(st.tuples(CLOCKS_S, CLOCKS_S), min_size=1, max_size=30))
def test_time_is_the_median_of_training_plus_evaluation_inside_its_interval(clocks):
    runs = [speed_run(seed, 0.99, *clock) for seed, clock in enumerate(clocks)]
    time_s = judge_claim(runs, 0.9).time_s
    assert time_s.value == pytest.approx(median(map(sum, clocks)))
    assert (time_s.low is None) == (len(runs) < 6)
    if time_s.low is not None:
        assert time_s.low <= time_s.value <= time_s.high


@given(accuracies=st.lists(FRACTIONS, min_size=1, max_size=12), target=FRACTIONS)
def test_no_mean_below_its_target_is_claimed_and_the_reason_is_one_line(accuracies, target):
    claim = judge_claim(runs_of(accuracies), target)
    assert not (claim.claimed and fmean(accuracies) < target)
    assert claim.reason
    assert claim.reason.isprintable()


@pytest.mark.parametrize(
    ("accuracies", "claimed", "reason"),
    [
        ((0.991, 0.9912, 0.9908, 0.9911), True, "mean 99.103 % of 4 seeds, p = 0.00"),
        ((0.991, 0.98, 0.99), False, "mean 98.700 % of 3 seeds is below 99 %"),
        ((0.991, 0.989, 0.9905), False, "of 3 seeds, p = 0.4, not below 0.01"),
        ((0.999,), False, "mean 99.900 % of one seed shows no spread"),
        ((0.991, None, 0.991), False, "seed 1 ended before its test accuracy was read"),
    ],
)
def test_the_reason_tells_why(accuracies, claimed, reason):
    claim = judge_claim(runs_of(accuracies), 0.99)
    assert claim.claimed is claimed
    assert reason in claim.reason


def test_a_claim_takes_training_and_evaluation_but_not_the_warm_up(make_run):
    runs = speed_runs([make_run(0, 0.99), make_run(1, 0.98)])
    assert runs == [speed_run(0, 0.99, 0.5, 0.25), speed_run(1, 0.98, 1.5, 0.25)]
    assert [run.time_s for run in runs] == [0.75, 1.75]


def test_compare_knows_the_same_time(make_run):
    metric = METRICS["train_eval_s"]
    assert metric.read(make_run(1), None).value == speed_runs([make_run(1)])[0].time_s
    assert metric.read(make_run(1, phases_s={"train": 1.0}), None) is None
    assert metric.word(1.0) == "slower"


def test_a_run_that_diverged_counts_with_the_accuracy_it_had(make_run):
    diverged = make_run(1, 0.098, status="diverged")
    runs = speed_runs([make_run(0), diverged, make_run(2)])
    assert judge_claim(runs, 0.9).mean_accuracy == pytest.approx((0.99 + 0.098 + 0.99) / 3)


def test_a_run_that_ended_early_is_no_record_and_not_left_out(make_run):
    runs = speed_runs([*map(make_run, range(8)), make_run(8, status="diverged", result=Result())])
    claim = judge_claim(runs, 0.9)
    assert (claim.n, claim.claimed, claim.p_value) == (9, False, None)


def test_a_commit_that_lands_meanwhile_loses_no_claim(make_run):
    first, second = make_run(0), make_run(1)
    moved = second.environment | {"git_commit": "b" * 40}
    assert len(speed_runs([first, second.model_copy(update={"environment": moved})])) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": 0.5}, "runs of 2 configurations (lr 0.01; lr 0.5)"),
        ({"recipe": None, "model": "cnn4"}, "runs of 2 configurations"),
    ],
)
def test_runs_of_several_configurations_are_refused(change, says, make_run):
    other = make_run(1)
    other = other.model_copy(update={"config": other.config | change})
    with pytest.raises(InputError) as refusal:
        speed_runs([make_run(0), other])
    assert says in str(refusal.value)


def test_runs_that_stop_at_the_target_are_refused(make_run):
    record = make_run(0)
    stopping = record.model_copy(update={"config": record.config | {"stop_at_target": True}})
    with pytest.raises(InputError, match="stop_at_target ends each run elsewhere"):
        speed_runs([stopping])


def test_runs_measured_beside_others_are_refused(make_run):
    record = make_run(7)
    shared = {"environment": record.environment | {"measured_alone": False}}
    with pytest.raises(InputError, match="seed 7 was measured beside other runs; run it alone"):
        speed_runs([record.model_copy(update=shared)])


@pytest.mark.parametrize("how", [{"kinds": ["torch"]}, {"kinds": [], "hooks": ["Watcher"]}])
def test_runs_that_were_profiled_are_refused(make_run, how):
    with pytest.raises(InputError, match="seed 7 was profiled; run it without --profile"):
        speed_runs([make_run(6), profiled(make_run(7), **how)])


def test_a_seed_that_was_run_twice_is_no_second_sample(make_run):
    with pytest.raises(InputError, match="seed 3 was run twice"):
        speed_runs([make_run(3), make_run(4), make_run(3)])


def test_reading_test_while_training_is_refused_and_reading_val_is_not(make_record):
    record = make_record(0, (0.9, 0.98))
    with pytest.raises(InputError, match="seed 0 read the test set 2 times"):
        speed_runs([record])
    first, last = record.eval_points
    on_val = [replace(first, split="val"), last]
    assert len(speed_runs([record.model_copy(update={"eval_points": on_val})])) == 1


def test_nothing_and_runs_without_clocks_are_refused(make_run):
    with pytest.raises(InputError, match="no run to claim it with"):
        speed_runs([])
    with pytest.raises(InputError, match="seed 0 has no clock of eval"):
        speed_runs([make_run(0, phases_s={"train": 1.0})])
