"""A against B: the verdict has the right sign, is rarely false, and is refused where it must be."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from mnistbench.analysis.comparison import after_looks, compare, default_metrics
from mnistbench.analysis.comparison_table import render_comparison
from mnistbench.analysis.significance import holm
from mnistbench.schema.record import Canary, CanaryReading, Result, Throughput

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def make_side(make_record):
    """Makes the runs of a side from their speeds; a minute apart from `minute` on."""

    def make(speeds, *, minute=0, every=1, **changes):
        accuracies = changes.pop("accuracies", (0.9, 0.95, 0.98))
        return [
            make_record(
                seed,
                accuracies,
                throughput=Throughput(samples_per_s=speed),
                created_at=(START + timedelta(minutes=minute + every * seed)).isoformat(),
                **changes,
            )
            for seed, speed in enumerate(speeds)
        ]

    return make


@pytest.fixture
def make_pairs(make_side):
    """Makes A and B as runs taken in turn, on a machine that drifts, B `factor` times as fast."""

    def make(n, *, factor=1.0, noise=0.01, seed=0, **changes):
        draw = random.Random(seed)
        drift = [1000 * (1 + 0.3 * draw.random()) for _ in range(n)]
        a, b = ([speed * draw.lognormvariate(0, noise) for speed in drift] for _ in "AB")
        b = [factor * speed for speed in b]
        return make_side(a, every=2, **changes), make_side(b, minute=1, every=2, **changes)

    return make


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


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"environment": {"num_threads": 2}}, "num_threads (1 against 2)"),
        ({"environment": {"global_batch_size": 128}}, "global_batch_size (64 against 128)"),
        ({"dataset": {"sha256": "1"}}, "data sha256 (0 against 1)"),
        ({"dataset": {"name": "kmnist"}}, "dataset (mnist against kmnist)"),
        ({"dataset": {"num_train": 600}}, "num_train (640 against 600)"),
        ({"config": {"eval_split": "val"}}, "eval_split (test against val)"),
        ({"config": {"target_accuracy": 0.9}}, "target_accuracy (0.97 against 0.9)"),
    ],
)
def test_what_is_not_comparable_is_named_and_gets_no_verdict(make_pairs, changes, named):
    a, b = make_pairs(8, factor=0.5)
    for key, values in changes.items():
        for index, record in enumerate(b):
            old = getattr(record, key)
            new = (
                old | values if isinstance(old, dict) else type(old)(**(old.model_dump() | values))
            )
            b[index] = record.model_copy(update={key: new})
    refused = compare(a, b)
    assert {r.verdict for r in refused.rows} == {"no verdict"}
    assert all(r.reason.startswith("different ") for r in refused.rows if r.b.n)
    assert all(r.p is None for r in refused.rows)
    assert any(named in note for note in refused.notes)
    forced = compare(a, b, force=True)
    assert row(forced, "samples_per_s").verdict == "slower"
    assert any(named in note for note in forced.notes)


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
    assert "loss mse instead of cross-entropy, lr 0.5 instead of 0.01" in note
    assert "torch 2.14 instead of –" in note


def test_a_target_given_scores_runs_with_targets_of_their_own(make_pairs):
    a, b = make_pairs(8)
    b = [r.model_copy(update={"config": r.config | {"target_accuracy": 0.5}}) for r in b]
    table = compare(a, b, target_accuracy=0.94)
    time = row(table, "time_to_accuracy_s")
    assert time.target_accuracy == 0.94
    assert time.reason is None
    assert time.a.median == pytest.approx(4.35)
    stopped = [r.model_copy(update={"config": r.config | {"stop_at_target": True}}) for r in b]
    refused = compare(a, stopped, target_accuracy=0.94)
    assert "target_accuracy" in row(refused, "samples_per_s").reason


def test_without_a_target_there_is_no_time_to_it(make_side):
    a, b = make_side([1e3] * 2, target=None), make_side([1e3] * 2, target=None, minute=5)
    assert default_metrics(a, b) == ("samples_per_s", "test_accuracy")
    time = row(compare(a, b, metrics=["time_to_accuracy_s"]), "time_to_accuracy_s")
    assert time.reason == "no target accuracy in A and B"


def test_runs_that_miss_the_target_are_censored_not_dropped(make_record):
    a = [make_record(seed) for seed in range(10)]
    b = [make_record(seed, (0.9, 0.95, 0.96)) for seed in range(10)]
    table = compare(a, b)
    time = row(table, "time_to_accuracy_s")
    assert (time.a.reached, time.b.reached, time.b.n, time.b.median) == (10, 0, 10, None)
    assert time.verdict == "slower"
    assert time.change is None
    text = render_comparison(table, [], table_format="table")
    assert "not reached (0 of 10)" in text
    assert "time to 97 %" in text
    steps = row(compare(b, a, metrics=["steps_to_accuracy"]), "steps_to_accuracy")
    assert steps.verdict == "faster"


def test_with_some_censored_the_ratio_of_medians_has_no_interval(make_record):
    a = [make_record(seed) for seed in range(10)]
    b = [make_record(seed) for seed in range(9)] + [make_record(9, (0.9, 0.95, 0.96))]
    time = row(compare(a, b), "time_to_accuracy_s")
    assert time.change == pytest.approx((time.b.median / time.a.median - 1, None, None))
    assert time.b.reached == 9


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


def canary(*speeds):
    before, after = (
        CanaryReading(matmul_flops_per_s=speed, copy_bytes_per_s=speed) for speed in speeds
    )
    return Canary(before=before, after=after)


def test_times_of_a_machine_that_moved_get_no_verdict_but_accuracies_do(make_pairs):
    a, b = make_pairs(10, factor=0.9)
    b = [r.model_copy(update={"canary": canary(1e9, 5e8)}) for r in b[:6]] + b[6:]
    table = compare(a, b)
    assert row(table, "samples_per_s").reason == (
        "the machine's own speed moved during 6 of 10 runs of B"
    )
    assert row(table, "test_accuracy").verdict == "no difference seen"
    assert row(compare(a, b, force=True), "samples_per_s").verdict == "slower"
    few = compare(a, b[:2] + make_pairs(10, factor=0.9)[1][2:])
    assert row(few, "samples_per_s").verdict == "slower"
    assert any("moved during 2 of 10 runs" in note for note in few.notes)


def test_a_machine_that_was_slower_for_b_is_a_reason_unless_the_runs_were_in_turn(
    make_pairs, make_side
):
    speeds = [1000.0 + seed for seed in range(8)]
    a = make_side(speeds, canary=canary(1e9, 1e9))
    b = make_side(speeds, canary=canary(7e8, 7e8), minute=60)
    reason = row(compare(a, b), "samples_per_s").reason
    assert reason == "the machine itself was 30 % slower during B than during A"
    in_turn = [
        [r.model_copy(update={"canary": canary(speed, speed)}) for r in side]
        for side, speed in zip(make_pairs(8), (1e9, 7e8), strict=True)
    ]
    assert row(compare(*in_turn), "samples_per_s").reason is None


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
