"""A against B: the verdict has the right sign, is rarely false, and is refused where it must be."""

from dataclasses import replace

import pytest

from mnistbench.analysis.comparison import after_looks, compare, compare_sets, default_metrics
from mnistbench.analysis.splitting import split
from mnistbench.output.comparison_table import render_comparison
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Result, Throughput
from mnistbench.schema.record_sets import RecordSet
from mnistbench.schema.training_fields import SAME_RUN
from mnistbench.stats.rank_tests import holm


def row(comparison, metric):
    return next(row for row in comparison.rows if row.metric == metric)


def test_a_slowdown_is_seen_through_a_drifting_machine_by_runs_taken_in_turn(make_pairs):
    speed = row(compare(*make_pairs(10, factor=0.95)), "samples_per_s")
    assert speed.sample.paired
    assert speed.verdict == "slower"
    assert speed.change.low < -0.05 < speed.change.high < 0
    assert speed.more_runs is None
    faster = row(compare(*reversed(make_pairs(10, factor=0.95))), "samples_per_s")
    assert faster.verdict == "faster"
    assert faster.change.estimate == pytest.approx(1 / (1 + speed.change.estimate) - 1)


def test_a_time_is_slower_where_it_is_longer(make_side, make_record):
    phases = make_record().phases_s
    a, b = (
        [make_record(seed, phases_s=phases | {"train": level + seed / 100}) for seed in range(8)]
        for level in (6.0, 7.0)
    )
    assert row(compare(a, b, metrics=["train_s"]), "train_s").verdict == "slower"


def test_accuracies_are_higher_or_lower_by_a_difference(make_record):
    a = [make_record(seed, (0.9, 0.95, 0.97 + seed / 10_000)) for seed in range(8)]
    b = [make_record(seed, (0.9, 0.95, 0.98 + seed / 10_000)) for seed in range(8)]
    accuracy = row(compare(a, b), "test_accuracy")
    assert accuracy.verdict == "higher"
    assert accuracy.change.estimate == pytest.approx(0.01)
    assert "+1.00 points" in render_comparison(compare(a, b), [], table_format="table")


def test_a_thing_and_itself_are_rarely_told_apart_by_any_row(make_pairs):
    tables = [compare(*make_pairs(8, seed=seed)) for seed in range(100)]
    verdicts = [table for table in tables if any(r.p_adjusted < 0.05 for r in table.rows)]
    assert len(verdicts) <= 5
    assert row(tables[0], "test_accuracy").verdict == "no difference seen"


@pytest.mark.slow
def test_a_slowdown_of_5_percent_is_found_at_the_seeds_that_were_asked_for(make_pairs):
    found = 0
    for seed in range(40):
        pilot = row(compare(*make_pairs(8, noise=0.04, seed=seed)), "samples_per_s")
        needed = 8 + (pilot.more_runs or 0)
        rerun = compare(*make_pairs(needed, factor=0.95, noise=0.04, seed=1000 + seed))
        found += row(rerun, "samples_per_s").verdict == "slower"
    assert found >= 34  # nine of ten, less the chance of 40 trials


def test_few_runs_give_no_verdict_but_the_number_that_would(make_side):
    speed = row(compare(make_side([1000.0]), make_side([500.0])), "samples_per_s")
    assert (speed.verdict, speed.reason) == ("no verdict", "n = 1 is too few")
    assert speed.more_runs >= 3
    assert not speed.spread_known
    three = row(compare(make_side([1e3, 1.01e3, 1.02e3]), make_side([1e3] * 3)), "samples_per_s")
    assert three.spread_known


def test_verdicts_are_adjusted_for_all_rows_of_the_table(make_pairs):
    names = ["samples_per_s", "wall_s", "test_accuracy"]
    table = compare(*make_pairs(7, factor=0.9), metrics=names)
    assert [r.p_adjusted for r in table.rows] == pytest.approx(holm([r.p for r in table.rows]))
    assert table.rows[0].p_adjusted == pytest.approx(3 * table.rows[0].p)


def test_runs_one_after_the_other_are_no_pairs(make_side):
    a, b = make_side([1e3, 1.1e3, 1.2e3]), make_side([1e3, 1.1e3, 1.2e3], minute=10)
    assert not row(compare(a, b), "samples_per_s").sample.paired


def test_a_pair_in_which_one_measured_nothing_is_left_out(make_pairs):
    a, b = make_pairs(9)
    b[3] = b[3].model_copy(update={"throughput": Throughput()})
    sample = row(compare(a, b), "samples_per_s").sample
    assert sample.paired
    assert sample.n == 8
    assert a[3].throughput.samples_per_s not in [reading.value for reading in sample.a]


def test_what_the_comparison_is_about_is_named_and_judged(make_pairs):
    a, b = make_pairs(8, factor=0.9)
    b = [
        record.model_copy(
            update={
                "config": record.config | {"loss": "mse", "lr": 0.5},
                "environment": record.environment | {"versions": {"torch": "2.14"}},
            }
        )
        for record in b
    ]
    table = compare(a, b)
    assert row(table, "samples_per_s").verdict == "slower"
    (note,) = (note for note in table.notes if note.startswith("B differs in"))
    for told in (
        "loss mse instead of cross-entropy",
        "lr 0.5 instead of 0.01",
        "torch 2.14 instead",
    ):
        assert told in note


def test_what_runs_of_one_configuration_may_differ_in_is_not_the_subject(make_pairs):
    a, b = make_pairs(2)
    b = [r.model_copy(update={"config": r.config | dict.fromkeys(SAME_RUN, 7)}) for r in b]
    assert not any(note.startswith("B differs in") for note in compare(a, b).notes)


def test_a_target_given_scores_runs_with_targets_of_their_own(make_pairs):
    a, b = make_pairs(8)
    b = [r.model_copy(update={"result": Result(target_accuracy=0.5)}) for r in b]
    table = compare(a, b, target_accuracy=0.94)
    time = row(table, "time_to_accuracy_s")
    assert time.target.accuracy == 0.94
    assert time.reason is None
    assert time.a.at_most == pytest.approx(4.35)
    stopped = [r.model_copy(update={"config": r.config | {"stop_at_target": True}}) for r in b]
    refused = compare(a, stopped, target_accuracy=0.94)
    assert row(refused, "time_to_accuracy_s").reason == "different target"
    assert row(refused, "samples_per_s").reason is None


def test_without_a_target_there_is_no_time_to_it(make_side):
    a, b = make_side([1e3] * 2, target=None), make_side([1e3] * 2, target=None, minute=5)
    assert default_metrics(a, b) == ("samples_per_s", "test_accuracy")
    time = row(compare(a, b, metrics=["time_to_accuracy_s"]), "time_to_accuracy_s")
    assert time.reason == "no target that was evaluated in A and B"


def test_runs_that_miss_the_target_are_censored_not_dropped(make_record):
    a = [make_record(seed) for seed in range(10)]
    b = [make_record(seed, (0.9, 0.95, 0.96)) for seed in range(10)]
    table = compare(a, b)
    time = row(table, "time_to_accuracy_s")
    assert (time.a.reached, time.b.reached, time.b.n, time.b.value) == (10, 0, 10, None)
    assert time.verdict == "slower"
    assert time.change is None
    text = render_comparison(table, [], table_format="table")
    assert "0 of 10 reached" in text
    assert "time to 97 %" in text
    steps = row(compare(b, a, metrics=["steps_to_accuracy"]), "steps_to_accuracy")
    assert steps.verdict == "faster"


def test_with_some_censored_the_ratio_of_medians_has_no_interval(make_record):
    a = [make_record(seed) for seed in range(10)]
    b = [make_record(seed) for seed in range(9)] + [make_record(9, (0.9, 0.95, 0.96))]
    time = row(compare(a, b), "time_to_accuracy_s")
    assert time.change == pytest.approx((time.b.value / time.a.value - 1, None, None))
    assert time.b.reached == 9


def curve(record, at, *, every=0.5, end=8.0):
    """`record` as evaluated `every` so many seconds, over the target from `at` on, or never."""
    clock = [every * k for k in range(1, round(end / every) + 1)]
    points = [
        replace(
            record.eval_points[0],
            step=100 * k,
            train_s=train_s,
            accuracy=0.98 if at is not None and train_s >= at else 0.9,
        )
        for k, train_s in enumerate(clock, 1)
    ]
    return record.model_copy(update={"eval_points": points, "num_steps": 100 * len(points)})


def test_curves_that_cross_have_no_direction_and_both_facts_are_said(make_record):
    a = [curve(make_record(seed), 2.0 if seed < 5 else 6.0) for seed in range(12)]
    b = [curve(make_record(seed), 5.0 if seed < 6 else None) for seed in range(12)]
    (time,) = compare(a, b, metrics=["time_to_accuracy_s"]).rows
    assert (time.a.reached, time.b.reached) == (12, 6)
    assert time.b.value < time.a.value
    assert time.p < 0.05
    said = "by the log-rank test B is slower, by the medians it is faster"
    assert (time.verdict, time.reason) == ("no verdict", f"they differ, but {said}")
    (back,) = compare(b, a, metrics=["time_to_accuracy_s"]).rows
    assert "the log-rank test B is faster, by the medians it is slower" in back.reason


def test_means_that_say_the_opposite_of_the_ranks_are_no_verdict(make_side):
    a = [*(1000.0 + k for k in range(9)), 1e6]
    b = [1100.0 + k for k in range(10)]
    (speed,) = compare(make_side(a), make_side(b, minute=60), metrics=["samples_per_s"]).rows
    assert speed.p < 0.05
    assert speed.reason == (
        "they differ, but by the rank test B is faster, by the means it is slower"
    )


def test_a_difference_inside_the_spacing_of_the_evaluations_is_no_verdict(make_record):
    def side(at, every):
        return [curve(make_record(seed), at + seed / 100, every=every) for seed in range(8)]

    (coarse,) = compare(side(3.9, 1.0), side(4.5, 1.0), metrics=["time_to_accuracy_s"]).rows
    assert (coarse.verdict, coarse.reason) == (
        "no verdict",
        "the difference is inside the spacing of the evaluations",
    )
    assert coarse.sample.p_of_first() < 0.05  # by the first evaluations alone they differ
    (fine,) = compare(side(3.9, 0.05), side(4.5, 0.05), metrics=["time_to_accuracy_s"]).rows
    assert fine.verdict == "slower"
    # one side evaluated seldom: its later first hit is its spacing's
    (uneven,) = compare(side(3.9, 0.05), side(3.9, 1.3), metrics=["time_to_accuracy_s"]).rows
    assert uneven.verdict == "no verdict"
    (late,) = compare(side(3.9, 0.05), side(6.0, 1.3), metrics=["time_to_accuracy_s"]).rows
    assert late.verdict == "slower"


def test_repeats_of_a_seed_count_in_speeds_and_a_note_says_what_they_are_left_out_of(make_side):
    once = [1000.0, 1001.0, 1002.0, 1003.0]
    a = make_side(once)
    b = [r.model_copy(update={"seed": 0}) for r in make_side(once, minute=60)]
    table = compare(a, b)
    assert [(r.metric, r.b.n) for r in table.rows] == [
        ("samples_per_s", 4),
        ("time_to_accuracy_s", 1),
        ("test_accuracy", 1),
    ]
    assert any(
        note.startswith("B: 3 repeated runs of a seed count in times") for note in table.notes
    )
    assert not any("repeated" in note for note in compare(a, a).notes)


def test_what_did_not_complete_is_named_and_counts_in_times_to_accuracy_only(make_record):
    a = [make_record(seed) for seed in range(8)]
    b = [make_record(seed) for seed in range(6)] + [
        make_record(6, (0.5,), status="diverged"),
        make_record(7, status="failed", eval_points=[], throughput=Throughput(), result=Result()),
    ]
    table = compare(a, b)
    assert [row(table, name).b.n for name in ("samples_per_s", "test_accuracy")] == [6, 6]
    time = row(table, "time_to_accuracy_s")
    assert (time.b.reached, time.b.n) == (6, 8)
    (note,) = (note for note in table.notes if "did not complete" in note)
    assert "2 of 8 runs" in note
    assert "seed 6 diverged, seed 7 failed" in note


def test_ten_runs_against_three_can_be_told_apart_where_three_against_three_cannot(make_side):
    few, many = make_side([900.0, 901.0, 902.0]), make_side([1000.0 + n for n in range(10)])
    assert row(compare(many, few, metrics=["samples_per_s"]), "samples_per_s").verdict == "slower"
    three = row(compare(many[:3], few, metrics=["samples_per_s"]), "samples_per_s")
    assert three.reason == "n = 3 is too few"


def test_few_arrivals_of_few_are_no_verdict(make_record):
    missed = (0.9, 0.95, 0.96)
    a = [make_record(seed, (0.9, 0.95, 0.98) if seed < 5 else missed) for seed in range(10)]
    b = [make_record(seed, missed) for seed in range(10)]
    time = row(compare(a, b), "time_to_accuracy_s")  # 5 of 10 against 0 of 10
    assert time.p == pytest.approx(0.033, abs=0.006)
    assert time.verdict == "no difference seen"  # with two other rows


def test_commits_within_a_side_are_named(make_pairs):
    a, b = make_pairs(4)
    commits = [("x" * 40, False), ("y" * 40, True)]
    a = [
        r.model_copy(
            update={
                "environment": r.environment
                | dict(zip(("git_commit", "git_dirty"), commits[r.seed % 2], strict=True))
            }
        )
        for r in a
    ]
    table = compare(a, b)
    assert len(table.rows) == 3
    assert f"several commits on side A: {'x' * 10}, {'y' * 10} (dirty)" in table.notes


def test_a_side_s_median_is_of_all_that_it_measured(make_pairs):
    a, b = make_pairs(3)
    a = [r.model_copy(update={"throughput": Throughput()}) for r in a]
    assert row(compare(a, b), "samples_per_s").b.n == 3


def test_a_value_of_zero_is_no_ratio(make_side):
    speed = row(compare(make_side([0.0, 1.0]), make_side([1.0, 2.0])), "samples_per_s")
    assert speed.reason == "a value of 0 has no ratio"


def test_a_verdict_that_repeated_looks_do_not_bear_is_taken_back(make_pairs):
    once = compare(*make_pairs(6, factor=0.5), metrics=["samples_per_s"])
    assert once.rows[0].verdict == "slower"
    looked = after_looks(once, "samples_per_s").rows[0]
    assert (looked.verdict, looked.reason) == ("no verdict", "n = 6 is too few")
    assert looked.more_runs >= 1


def test_repeated_looks_raise_the_bar_of_every_row(make_pairs):
    a, b = make_pairs(11, factor=0.99)
    once = compare(a, b)
    looked = after_looks(once, "samples_per_s")
    assert looked.look_factor == 6
    for before, after in zip(once.rows, looked.rows, strict=True):
        assert after.p == pytest.approx(min(1.0, 6 * before.p))
        assert after.change.low is None or after.change.low <= before.change.low
    assert looked.rows[0].p_adjusted == looked.rows[0].p
    text = render_comparison(looked, [], table_format="table")
    assert "every p is 6 times that of one" in text


def configured(runs, **config):
    return [
        r.model_copy(update={"recipe": None, "config": r.config | {"recipe": None} | config})
        for r in runs
    ]


def grid(make_side, **values):
    """Runs of four seeds of each model and loss, all at different times."""
    return [
        run
        for m, model in enumerate(values["models"])
        for n, loss in enumerate(values["losses"])
        for run in configured(make_side([1e3] * 4, minute=100 * m + 10 * n), model=model, loss=loss)
    ]


def test_sides_by_loss_are_compared_model_by_model(make_side):
    runs = grid(make_side, models=("mlp", "linear"), losses=("cross-entropy", "mse", "mae"))
    lone = configured(make_side([1e3] * 4, minute=999), model="simple-cnn", loss="mse")
    sides = split([*runs, *lone], "loss")
    table = compare_sets(sides, by="loss", metrics=["samples_per_s"])
    assert [(row.name, *row.names) for row in table.rows] == [
        ("mlp", "cross-entropy", "mse"),
        ("mlp", "cross-entropy", "mae"),
        ("linear", "cross-entropy", "mse"),
        ("linear", "cross-entropy", "mae"),
    ]
    assert table.sides == ("cross-entropy", "mse", "mae")
    assert "only in mse, not in cross-entropy: simple-cnn" in table.notes
    assert not [note for note in table.notes if "differs in" in note]
    by_model = compare_sets(split(runs, "model"), by="model", metrics=["samples_per_s"])
    assert [row.name for row in by_model.rows] == ["cross-entropy", "mse", "mae"]
    assert by_model.about == "A is mlp, B is linear"
    lacking = compare_sets(sides[1:], by="loss", metrics=["samples_per_s"])
    assert lacking.missing == {("A", "B"): ("simple-cnn",)}


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("precision", [{"mixed_precision": "no"}, {"mixed_precision": "bf16"}]),
        ("num_processes", [{"num_processes": 1}, {"num_processes": 2}]),
        ("torch", [{"versions": {"torch": "2.9"}}, {"versions": {"torch": "2.10"}}]),
        ("commit", [{"git_commit": "x" * 40}, {"git_commit": "y" * 40}]),
    ],
)
def test_sides_by_what_they_ran_on_are_compared_model_by_model(make_side, key, told):
    runs = [
        run.model_copy(update={"environment": run.environment | its})
        for its in told
        for run in grid(make_side, models=("mlp", "linear"), losses=("mse",))
    ]
    table = compare_sets(split(runs, key), by=key, metrics=["test_accuracy"])
    assert [row.name for row in table.rows] == ["mlp, mse", "linear, mse"]
    assert not [note for note in table.notes if "differs in" in note]


def test_a_side_of_one_set_that_is_like_nothing_else_is_named(make_side):
    runs = grid(make_side, models=("mlp", "linear"), losses=("cross-entropy", "mse"))
    other = grid(make_side, models=("cnn4", "dnn4"), losses=("bce",))
    unlike, *known = sorted(split([*runs, *other], "loss"), key=lambda side: side.name)
    table = compare_sets([*known, unlike], by="loss", metrics=["samples_per_s"])
    assert {row.names[1] for row in table.rows} == {"mse"}
    assert "only in bce, not in cross-entropy: cnn4; dnn4" in table.notes
    with pytest.raises(InputError, match="by: nothing agrees with bce in all but loss"):
        compare_sets([unlike, *known], by="loss", metrics=["samples_per_s"])


def test_verdicts_are_adjusted_for_the_rows_of_all_sides(make_pairs):
    a, b = make_pairs(8, factor=0.9)
    sides = [
        RecordSet(name=name, records=runs) for name, runs in zip("xyz", (a, b, a), strict=True)
    ]
    table = compare_sets(sides, metrics=["samples_per_s", "wall_s"])
    assert [row.p_adjusted for row in table.rows] == holm([row.p for row in table.rows])
    assert len({row.p_adjusted / row.p for row in table.rows[:1]} - {4.0}) == 0
    with pytest.raises(InputError, match="compare: no run in y"):
        compare_sets([sides[0], replace(sides[1], records=[]), sides[2]], metrics=["wall_s"])


def test_a_note_that_holds_of_all_that_is_compared_is_said_once(make_side):
    runs = grid(make_side, models=("mlp", "linear"), losses=("cross-entropy",))
    slower = [r.model_copy(update={"config": r.config | {"lr": 0.5}}) for r in runs]
    for run in slower[:4]:
        run.config["momentum"] = 0.0
    notes = compare(runs, slower, metrics=["samples_per_s"]).notes
    assert [n for n in notes if "lr 0.5" in n] == [
        "mlp, cross-entropy: B differs in: lr 0.5 instead of 0.01, momentum 0.0 instead of 0.5",
        "linear, cross-entropy: B differs in: lr 0.5 instead of 0.01",
    ]
    for run in slower[:4]:
        run.config["momentum"] = 0.5
    notes = compare(runs, slower, metrics=["samples_per_s"]).notes
    assert "B differs in: lr 0.5 instead of 0.01" in notes
