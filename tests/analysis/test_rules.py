"""The rules of other benchmarks, on runs whose scores were worked out by hand."""

from dataclasses import replace

import pytest

from mnistbench.analysis.rules import RULES, SOURCES, rule_notes, score_rules
from mnistbench.schema.record import PHASES, EvalPoint, Interruption

TARGET = 0.97
MISSED = None
PHASES_S = dict.fromkeys(PHASES, 0.0) | {
    "import": 1.5,
    "startup": 0.5,
    "data": 1.0,
    "build": 0.5,
    "compile": 0.5,
    "train": 20.0,
    "eval": 1.5,
}


@pytest.fixture
def runs(make_record):
    """Makes runs that reach the target at the train seconds given, and end after 20 s.

    Each evaluation takes half a second, and all that comes before training four: two until the data
    are touched, one to load them, half a second to build the model and half to compile it.
    """

    def run(seed, evaluations, end_accuracy, *, split="test", **changes):
        points = [
            EvalPoint(
                step=10 * number,
                epoch=number,
                samples_seen=640 * number,
                train_s=train_s,
                eval_s=0.5 * number,
                wall_s=4.0 + train_s + 0.5 * number,
                split=split,
                loss=0.1,
                accuracy=accuracy,
            )
            for number, (train_s, accuracy) in enumerate([*evaluations, (20.0, end_accuracy)], 1)
        ]
        if split == "val":
            points += [replace(points[-1], split="test", eval_s=points[-1].eval_s + 1)]
        values = {"eval_points": points, "phases_s": PHASES_S, "num_steps": 40} | changes
        record = make_record(seed, **values)
        return record.model_copy(update={"config": record.config | {"eval_split": split}})

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
    group = runs(9.0, 5.0, 6.0, 8.0, 7.0, split="val")
    assert [(s.rule, s.clock, s.time_s, s.n) for s in score_rules(group, TARGET)] == [
        ("mnistbench", "train", 3.0, 5),  # all of them after 1.0, and half by 5.0 at the latest
        # (6 + 7 + 8) / 3, two evaluations, and 2 s from before the data were touched
        ("MLPerf Training", "wall, from the data on", 10.0, 5),
        ("AlgoPerf", "compile + train", 7.5, 5),  # the middle one
        ("DAWNBench", "start + train", 13.0, 1),  # seed 0: 4 s of start, 9 s of training
        ("airbench", "train + last eval", 21.0, 5),  # all steps, and the test set once
        ("modded-nanogpt", "train, all steps", 20.0, 5),  # all steps
    ]


def test_each_rule_of_others_says_where_it_stands(runs):
    scores = score_rules(runs(9.0, 5.0), TARGET)
    assert [score.rule for score in scores if not score.source] == ["mnistbench"]
    assert set(SOURCES) == {score.rule for score in scores if score.source}
    notes = rule_notes([*scores, *scores])
    assert len(notes) == len(RULES) - 1
    assert notes[0].startswith(
        "MLPerf Training: mlcommons/training_policies, training_rules.adoc, "
    )
    assert notes[0].endswith("version 1.0 (2021-03-25), sections 11 and 12")


def test_mlperfs_clock_starts_before_the_data_and_is_never_paused(runs):
    """A checkpoint of three seconds within a run costs three seconds, wherever it is booked."""
    plain = runs(5.0, 6.0, 7.0)
    paused = [
        record.model_copy(
            update={
                "phases_s": record.phases_s | {"checkpoint": 3.0},
                "eval_points": [
                    replace(point, wall_s=point.wall_s + 3.0) for point in record.eval_points
                ],
            }
        )
        for record in plain
    ]
    assert score(plain, "MLPerf").time_s == pytest.approx(6.0 + 1.0 + 2.0)
    assert score(paused, "MLPerf").time_s == pytest.approx(6.0 + 1.0 + 2.0 + 3.0)
    assert score(plain, "DAWN").time_s == pytest.approx(score(paused, "DAWN").time_s)
    shared = PHASES_S | {"import": 0.0, "startup": 0.0, "data": 0.0}
    group = [plain[0], *(record.model_copy(update={"phases_s": shared}) for record in plain[1:])]
    assert "2 of 3 had their data from an earlier seed" in score(group, "MLPerf").remark


def test_a_run_that_stood_still_has_no_score_on_an_unpaused_clock(runs):
    stop = Interruption(
        step=3, cause="SIGTERM", saved_at="2026-01-01", resumed_at="2026-01-02", num_processes=1
    )
    group = [*runs(5.0, 6.0), *runs(5.0, 6.0, 7.0, interruptions=[stop])[2:]]
    found = score(group, "MLPerf")
    assert (found.time_s, found.remark) == (
        None,
        "void: the clock stood still where a run was interrupted",
    )


def test_algoperf_scores_the_validation_set_alone(runs):
    found = score(runs(5.0, 6.0, 7.0), "AlgoPerf")
    assert (found.time_s, found.remark) == (None, "its target is on validation; read on test")


def test_airbench_counts_the_last_evaluation_and_no_other(runs):
    group = runs(5.0, 6.0, 7.0)  # three evaluations of half a second, the last on the clock
    assert score(group, "airbench").time_s == pytest.approx(20.5)
    assert score(group, "modded").time_s == pytest.approx(20.0)
    assert score(group, "airbench").remark == "mean 98.10 % of 3, theirs of 200"
    below = score(group, "airbench", target=0.982)
    assert (below.time_s, below.remark) == (None, "missed: mean 98.10 % of 3, theirs of 200")
    unread = [
        record.model_copy(update={"config": record.config | {"eval_split": "val"}})
        for record in runs(5.0, 6.0, split="val")
    ]
    no_test = [
        record.model_copy(update={"eval_points": record.eval_points[:-1]}) for record in unread
    ]
    assert "no last evaluation on the test set" in score(no_test, "airbench").remark


def test_dawnbench_need_not_count_checkpoints(runs):
    """When they were saved is on no record: then the phases and the train clock are added up."""
    (record,) = runs(9.0, phases_s=PHASES_S | {"checkpoint": 6.0})
    found = score([record], "DAWN")
    assert found.time_s == pytest.approx(13.0)
    assert found.remark == "seed 0, without what is in no phase"
    assert "read on val, theirs on test" in score(runs(9.0, split="val"), "DAWN").remark


def test_one_miss_is_mlperfs_slowest_run_and_a_second_voids(runs):
    one = score(runs(5.0, 6.0, 7.0, 8.0, MISSED), "MLPerf")
    assert one.time_s == pytest.approx(7.0 + 1.0 + 2.0)  # 5 and the miss are dropped
    assert one.remark == "drops 1 miss of 5 as the slowest"
    two = score(runs(5.0, 6.0, 7.0, MISSED, MISSED), "MLPerf")
    assert (two.time_s, two.remark) == (None, "void: 2 of 5 missed")
    three_runs = score(runs(5.0, 6.0, MISSED), "MLPerf")
    assert three_runs.time_s == pytest.approx(6.0 + 1.0 + 2.0)
    assert three_runs.remark == "drops 1 miss of 3 as the slowest; it asks for 5 runs"


def test_mlperf_asks_for_three_runs(runs):
    assert score(runs(5.0, 6.0), "MLPerf").remark == "needs 3 runs"
    assert score(runs(5.0, 6.0, 7.0), "MLPerf").time_s == pytest.approx(9.0)


def test_mlperf_orders_runs_by_its_own_clock(runs):
    """A run with the shorter training but many evaluations is not the faster one there."""
    often = [(1.0 + k / 10, 0.5) for k in range(20)]
    group = [
        runs.run(0, [*often, (5.0, 0.97)], 0.98, split="val"),  # 2 + 5.0 + 21 * 0.5 = 17.5
        runs.run(1, [(6.0, 0.97)], 0.98, split="val"),  # 8.5
        runs.run(2, [(8.0, 0.97)], 0.98, split="val"),  # 10.5
    ]
    assert score(group, "MLPerf").time_s == pytest.approx(10.5)
    assert score(group, "AlgoPerf").time_s == pytest.approx(6.5)


def test_algoperfs_misses_are_infinite(runs):
    def val(*times):
        return runs(*times, split="val")

    assert score(val(5.0, 6.0, 7.0, MISSED, MISSED), "AlgoPerf").time_s == 7.5
    most = score(val(5.0, 6.0, MISSED, MISSED, MISSED), "AlgoPerf")
    assert (most.time_s, most.remark) == (None, "infinite: 3 of 5 missed")
    half = score(val(5.0, 6.0, MISSED, MISSED), "AlgoPerf")
    assert half.time_s is None  # the mean of the middle two is infinite
    assert score(val(5.0, 6.0, 8.0, MISSED), "AlgoPerf").time_s == 7.5


def test_seconds_count_and_not_evaluations(runs):
    """AlgoPerf's own profile code took the trial of the fewest evaluations: 90 s before 40 s."""
    few = [runs.run(seed, [(18.0, 0.97)], 0.98, split="val") for seed in (0, 1)]
    many = runs.run(2, [(1.0, 0.1), (2.0, 0.2), (3.0, 0.3), (4.0, 0.97)], 0.98, split="val")
    assert score([*few, many], "AlgoPerf").time_s == 18.5
    assert score([few[0], many], "AlgoPerf").time_s == pytest.approx(11.5)


def test_dawnbench_takes_one_run_from_the_start_of_the_program(runs):
    group = runs(9.0, 5.0)
    assert score(group, "DAWN").time_s == score(group[::-1], "DAWN").time_s == 13.0
    missed = score(runs(MISSED, 5.0), "DAWN")
    assert (missed.time_s, missed.remark) == (None, "seed 0 missed")
    later = score(runs(9.0, phases_s=group[0].phases_s | {"import": 0.0}), "DAWN")
    assert later.remark == "seed 0, without the start of the program"


def test_a_record_from_before_the_clocks_has_no_score_on_them(make_record):
    group = [make_record(seed) for seed in range(3)]
    for rule in ("MLPerf", "airbench"):
        assert score(group, rule).time_s is None
        assert "older" in score(group, rule).remark
    assert "without what is in no phase" in score(group, "DAWN").remark


def test_fixed_steps_need_the_mean_above_the_target_beyond_doubt(runs):
    def ends(*accuracies, **changes):
        return [runs.run(s, [], a, **changes) for s, a in enumerate(accuracies)]

    sure = score(ends(0.979, 0.980, 0.981, 0.980), "modded")
    assert sure.time_s == 20.0  # all steps, not those to the target
    assert sure.remark.startswith("mean 98.00 %, p = ")
    # a miss of one run is no matter where the mean holds: t = 0.01 / (0.0028 / 2) = 7.1
    assert score(ends(0.969, 0.982, 0.983, 0.982, 0.983, 0.982), "modded").time_s == 20.0
    unsure = score(ends(0.960, 0.985, 0.975), "modded")
    assert unsure.time_s is None
    assert unsure.remark.startswith("not shown: mean 97.33 %, p = 0.3")


def test_steps_that_were_not_fixed_or_not_done_are_void(runs):
    good = runs(5.0, 6.0, 7.0)
    stopped = [
        record.model_copy(update={"config": record.config | {"stop_at_target": True}})
        for record in good
    ]
    uneven = [good[0], *runs(5.0, 6.0, num_steps=50)[1:]]
    broken = [*good, *runs(5.0, 6.0, 7.0, 8.0, status="interrupted")[3:]]
    remarks = [score(group, "modded").remark for group in (stopped, uneven, broken, good[:1])]
    assert [score(g, "airbench").remark for g in (stopped, uneven, broken)] == remarks[:3]
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
    assert own.time_s == pytest.approx(1.5)  # from 1.0, where all missed, to 2.0
    assert own.aggregate == "Turnbull's median"
    assert own.remark.startswith("10 of 10 reached, 95 % interval ")
    at_once = [
        r.model_copy(update={"eval_points": r.eval_points[-1:]}) for r in runs(5.0, 6.0, 6.0)
    ]
    bound = score(at_once, "mnistbench")
    assert (bound.time_s, bound.remark) == (20.0, "3 of 3 reached, at most that long")
    none = score(runs(MISSED, MISSED, 5.0), "mnistbench")
    assert (none.time_s, none.remark) == (None, "1 of 3 reached: the median did not")


def test_a_seed_that_was_run_again_is_no_further_run_of_any_rule(runs):
    once = runs(5.0, 6.0, 7.0)
    again = [
        record.model_copy(update={"run_id": f"again-{n}", "created_at": f"2025-01-0{n}"})
        for n, record in enumerate([once[0]] * 5, 1)
    ]
    assert score_rules([*again, *once], TARGET) == score_rules(once, TARGET)
