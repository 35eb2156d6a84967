"""The rules of other benchmarks, on runs whose scores were worked out by hand."""

import pytest

from mnistbench.analysis.rules import score_rules
from mnistbench.schema.record import EvalPoint

TARGET = 0.97
MISSED = None


@pytest.fixture
def runs(make_record):
    """Makes runs that reach the target at the train seconds given, and end after 20 s.

    Each evaluation takes half a second, and all that comes before training four.
    """

    def run(seed, evaluations, end_accuracy, **changes):
        points = [
            EvalPoint(
                step=10 * number,
                epoch=number,
                samples_seen=640 * number,
                train_s=train_s,
                eval_s=0.5 * number,
                wall_s=4.0 + train_s + 0.5 * number,
                split="test",
                loss=0.1,
                accuracy=accuracy,
            )
            for number, (train_s, accuracy) in enumerate([*evaluations, (20.0, end_accuracy)], 1)
        ]
        phases = make_record().phases_s | {"train": 20.0, "import": 2.0}
        values = {"eval_points": points, "phases_s": phases, "num_steps": 40} | changes
        return make_record(seed, **values)

    def make(*times, **changes):
        return [
            run(seed, [(1.0, 0.5)], 0.96, **changes)
            if time is MISSED
            else run(seed, [(1.0, 0.5), (time, 0.97)], 0.98 + seed / 1000, **changes)
            for seed, time in enumerate(times)
        ]

    make.run = run
    return make


def score(group, rule, target=TARGET):
    (found,) = [score for score in score_rules(group, target) if score.rule.startswith(rule)]
    return found


def test_five_runs_under_each_rule(runs):
    group = runs(9.0, 5.0, 6.0, 8.0, 7.0)
    assert [(s.rule, s.clock, s.time_s, s.n) for s in score_rules(group, TARGET)] == [
        ("mnistbench", "train", 7.0, 5),  # the middle one
        ("MLPerf Training", "train + eval", 8.0, 5),  # (6 + 7 + 8) / 3 and two evaluations
        ("AlgoPerf", "train", 7.0, 5),  # the middle one
        ("DAWNBench", "wall less eval", 13.0, 1),  # seed 0: 4 s of start, 9 s of training
        ("airbench, modded-nanogpt", "train, all steps", 20.0, 5),  # all steps
    ]


def test_one_miss_is_mlperfs_slowest_run_and_a_second_voids(runs):
    one = score(runs(5.0, 6.0, 7.0, 8.0, MISSED), "MLPerf")
    assert one.time_s == pytest.approx(7.0 + 1.0)  # 5 and the miss are dropped
    assert one.remark == "drops 1 miss of 5 as the slowest"
    two = score(runs(5.0, 6.0, 7.0, MISSED, MISSED), "MLPerf")
    assert (two.time_s, two.remark) == (None, "void: 2 of 5 missed")
    three_runs = score(runs(5.0, 6.0, MISSED), "MLPerf")
    assert three_runs.time_s == pytest.approx(6.0 + 1.0)


def test_mlperf_asks_for_three_runs(runs):
    assert score(runs(5.0, 6.0), "MLPerf").remark == "needs 3 runs"
    assert score(runs(5.0, 6.0, 7.0), "MLPerf").time_s == pytest.approx(7.0)


def test_mlperf_orders_runs_by_its_own_clock(runs):
    """A run with the shorter training but many evaluations is not the faster one there."""
    often = [(1.0 + k / 10, 0.5) for k in range(20)]
    group = [
        runs.run(0, [*often, (5.0, 0.97)], 0.98),  # 5.0 + 21 * 0.5 = 15.5
        runs.run(1, [(6.0, 0.97)], 0.98),  # 6.5
        runs.run(2, [(8.0, 0.97)], 0.98),  # 8.5
    ]
    assert score(group, "MLPerf").time_s == pytest.approx(8.5)
    assert score(group, "AlgoPerf").time_s == pytest.approx(6.0)


def test_algoperfs_misses_are_infinite(runs):
    assert score(runs(5.0, 6.0, 7.0, MISSED, MISSED), "AlgoPerf").time_s == 7.0
    most = score(runs(5.0, 6.0, MISSED, MISSED, MISSED), "AlgoPerf")
    assert (most.time_s, most.remark) == (None, "infinite: 3 of 5 missed")
    half = score(runs(5.0, 6.0, MISSED, MISSED), "AlgoPerf")
    assert half.time_s is None  # the mean of the middle two is infinite
    assert score(runs(5.0, 6.0, 8.0, MISSED), "AlgoPerf").time_s == 7.0


def test_seconds_count_and_not_evaluations(runs):
    """AlgoPerf's own profile code took the trial of the fewest evaluations: 90 s before 40 s."""
    few = [runs.run(seed, [(18.0, 0.97)], 0.98) for seed in (0, 1)]
    many = runs.run(2, [(1.0, 0.1), (2.0, 0.2), (3.0, 0.3), (4.0, 0.97)], 0.98)
    assert score([*few, many], "AlgoPerf").time_s == 18.0
    assert score([few[0], many], "AlgoPerf").time_s == pytest.approx(11.0)


def test_dawnbench_takes_one_run_from_the_start_of_the_program(runs):
    group = runs(9.0, 5.0)
    assert score(group, "DAWN").time_s == score(group[::-1], "DAWN").time_s == 13.0
    missed = score(runs(MISSED, 5.0), "DAWN")
    assert (missed.time_s, missed.remark) == (None, "seed 0 missed")
    later = score(runs(9.0, phases_s=group[0].phases_s | {"import": 0.0}), "DAWN")
    assert later.remark == "seed 0, without the start of the program"


def test_a_record_from_before_the_clocks_has_no_score_on_them(make_record):
    group = [make_record(seed) for seed in range(3)]
    for rule in ("MLPerf", "DAWN"):
        assert score(group, rule).time_s is None
        assert "older" in score(group, rule).remark
    assert score(group, "AlgoPerf").time_s == pytest.approx(6.1)


def test_fixed_steps_need_the_mean_above_the_target_beyond_doubt(runs):
    def ends(*accuracies, **changes):
        return [runs.run(s, [], a, **changes) for s, a in enumerate(accuracies)]

    sure = score(ends(0.979, 0.980, 0.981, 0.980), "airbench")
    assert sure.time_s == 20.0  # all steps, not those to the target
    assert sure.remark.startswith("mean 98.00 %, p = ")
    # a miss of one run is no matter where the mean holds: t = 0.01 / (0.0028 / 2) = 7.1
    assert score(ends(0.969, 0.982, 0.983, 0.982, 0.983, 0.982), "airbench").time_s == 20.0
    unsure = score(ends(0.960, 0.985, 0.975), "airbench")
    assert unsure.time_s is None
    assert unsure.remark.startswith("not shown: mean 97.33 %, p = 0.3")


def test_steps_that_were_not_fixed_or_not_done_are_void(runs):
    good = runs(5.0, 6.0, 7.0)
    stopped = [
        record.model_copy(update={"config": record.config | {"stop_at_target": True}})
        for record in good
    ]
    uneven = [good[0], *runs(5.0, 6.0, num_steps=50)]
    broken = [*good, *runs(5.0, status="interrupted")]
    remarks = [score(group, "airbench").remark for group in (stopped, uneven, broken, good[:1])]
    assert remarks == [
        "void: the steps were not fixed",
        "void: the steps were not fixed",
        "void: 1 of 4 did not complete",
        "needs 2 runs",
    ]
    assert score(broken, "mnistbench").n == 4


def test_our_own_rule_tells_its_interval_and_how_many_reached(runs):
    group = runs(*(float(t) for t in range(2, 12)))
    own = score(group, "mnistbench")
    assert own.time_s == pytest.approx(6.5)
    assert own.remark.startswith("10 of 10 reached, 95 % interval ")
    none = score(runs(MISSED, MISSED, 5.0), "mnistbench")
    assert (none.time_s, none.remark) == (None, "1 of 3 reached: the median did not")
