"""What gets no verdict: other conditions, a machine that moved, survivors, other evaluations."""

import pytest

from mnistbench.analysis.comparability import not_alike
from mnistbench.analysis.comparison import compare, compare_matches, default_metrics
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.pairing import as_one
from mnistbench.schema.record import Canary, CanaryReading
from tests.made_records import profiled


def row(comparison, metric):
    return next(row for row in comparison.rows if row.metric == metric)


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


def test_what_survived_on_one_side_alone_gets_no_verdict(make_record):
    a = [make_record(seed) for seed in range(8)]
    b = [make_record(seed, (0.9, 0.95, 0.99)) for seed in range(5)]
    b += [make_record(seed, (0.5,), status=end) for seed, end in ((5, "diverged"), (6, "failed"))]
    b += [make_record(7, (0.5,), status="interrupted")]  # not its own doing
    table = compare(a, b)
    for name in ("samples_per_s", "test_accuracy"):
        assert row(table, name).reason == "2 of 8 runs of B diverged or failed"
    assert row(table, "time_to_accuracy_s").refusal is None  # where they count
    assert row(compare(a, b, force=True), "test_accuracy").verdict == "higher"
    lost = [r.model_copy(update={"status": "diverged"}) for r in a[:2]] + a[2:]
    assert row(compare(lost, b), "test_accuracy").refusal is None
    assert row(compare(lost, a), "test_accuracy").reason == "2 of 8 runs of A diverged or failed"


def evaluated_at(record, *steps):
    points = [record.eval_points[0].model_copy(update={"step": step}) for step in steps]
    return record.model_copy(update={"eval_points": points})


@pytest.mark.parametrize(
    ("steps", "alike"),
    [
        ((10, 20, 30), True),
        ((10, 20, 30, 40), True),
        ((10, 20), True),
        ((10, 15), True),  # its end, whatever the grid
        ((), True),
        ((20, 30), False),
        ((5, 10, 15, 20, 25, 30), False),
        ((30,), False),
    ],
)
def test_times_to_a_target_are_of_runs_evaluated_after_the_same_steps(make_record, steps, alike):
    a = [make_record(seed) for seed in range(4)]
    b = [evaluated_at(make_record(seed), *steps) for seed in range(4)]
    names = ["time_to_accuracy_s", "steps_to_accuracy", "test_accuracy"]
    for table in (compare(a, b, metrics=names), compare(b, a, metrics=names)):
        time, number, accuracy = table.rows
        assert (time.refusal is None) == alike
        assert time.refusal == number.refusal
        assert accuracy.refusal is None
    assert all(r.refusal is None for r in compare(a, b, metrics=names, force=True).rows)


def test_runs_evaluated_by_one_rule_up_to_their_target_are_alike(make_record):
    def by_rule(record, spacing, *steps):
        environment = record.environment | {"eval_spacing": spacing}
        return evaluated_at(record.model_copy(update={"environment": environment}), *steps)

    a = [by_rule(make_record(0), 0.05, 20, 25, 40), by_rule(make_record(1), 0.05, 20, 21, 40)]
    b = [by_rule(make_record(2), 0.05, 20, 31, 40)]
    metric = METRICS["time_to_accuracy_s"]
    assert not_alike(a, b, metric) is None
    other = [by_rule(make_record(2), 0.2, 20, 31, 40)]
    assert "evaluated after different steps" in not_alike(a, other, metric)


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


def test_times_of_runs_beside_others_get_no_verdict_but_steps_and_accuracies_do(make_pairs):
    a, b = make_pairs(10, factor=0.9)
    shared = b[0].environment | {"measured_alone": False}
    b[3] = b[3].model_copy(update={"environment": shared})
    names = ["samples_per_s", "time_to_accuracy_s", "steps_to_accuracy", "test_accuracy"]
    why = "1 of 10 runs of B were measured beside other runs"
    table = compare(a, b, metrics=names)
    assert [r.reason for r in table.rows[:2]] == [why, why]
    assert why in table.notes
    assert [r.verdict for r in table.rows[2:]] == ["no difference seen"] * 2
    assert row(table, "samples_per_s").b_problem == why
    assert row(table, "test_accuracy").b_problem is None
    (speed,) = compare(b, a, metrics=["samples_per_s"]).rows
    assert speed.reason == why.replace("B", "A")
    assert row(compare(a, b, metrics=names, force=True), "samples_per_s").verdict == "slower"


def test_profiled_runs_change_no_comparison(make_pairs):
    a, b = make_pairs(8, factor=0.5)
    slow = [profiled(r.model_copy(update={"run_id": f"{r.run_id}-profiled"})) for r in b]
    assert compare([*a, *slow], [*slow, *b]).rows == compare(a, b).rows
    assert not any("profile" in note and "B differs" in note for note in compare(a, b).notes)


def test_a_target_that_only_profiled_runs_have_is_no_metric(make_record):
    a, timed = make_record(), profiled(make_record(1))
    without = make_record(target=None)
    without = without.model_copy(update={"config": without.config | {"target_accuracy": None}})
    assert "time_to_accuracy_s" not in default_metrics([a], [without, timed])
    assert "time_to_accuracy_s" in default_metrics([a], [a, timed])


def test_profiled_runs_that_come_to_a_comparison_all_the_same_get_no_verdict(make_pairs):
    """As runs in turn would, of which none is left out."""
    a, b = make_pairs(8, factor=0.5)
    b = [profiled(record) for record in b]
    names = ["samples_per_s", "test_accuracy"]
    why = "8 of 8 runs of B were profiled"
    assert not_alike(a, b, METRICS["test_accuracy"]) == why
    for row_ in compare_matches([as_one(a, b)], metrics=names).rows:
        assert (row_.verdict, row_.reason, row_.b_problem) == ("no verdict", why, why)
