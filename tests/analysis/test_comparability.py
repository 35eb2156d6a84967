"""What gets no verdict: other conditions, a machine that moved, survivors, other evaluations."""

import pytest

from mnistbench.analysis.comparability import not_alike
from mnistbench.analysis.comparison import compare, compare_matches, default_metrics
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.pairing import as_one
from mnistbench.schema.record import Canary, CanaryReading
from tests.made_records import interruption, own_code, profiled, slower


def row(comparison, metric):
    return next(row for row in comparison.rows if row.metric == metric)


SPEED, STEP, WALL = "samples_per_s", "step_s_p50", "wall_s"
TIME, STEPS = "time_to_accuracy_s", "steps_to_accuracy"
TEST, VAL, LOSS = "test_accuracy", "val_accuracy", "test_loss"
ALL = {SPEED, STEP, WALL, TIME, STEPS, TEST, VAL, LOSS}


@pytest.mark.parametrize(
    ("changes", "named", "refused"),
    [
        (
            {"environment": {"num_threads": 2}},
            "num_threads (1 against 2)",
            {SPEED, STEP, WALL, TIME},
        ),
        (
            {"environment": {"num_processes": 1}},
            "num_processes (2 against 1)",
            {SPEED, STEP, WALL, TIME},
        ),
        ({"environment": {"process": "warm"}}, "process (fresh against warm)", {WALL}),
        (
            {"environment": {"global_batch_size": 128}},
            "global_batch_size (64 against 128)",
            {STEP, STEPS},
        ),
        ({"dataset": {"sha256": "1"}}, "data sha256 (0 against 1)", ALL - {SPEED, STEP}),
        ({"dataset": {"name": "kmnist"}}, "dataset (mnist against kmnist)", ALL),
        ({"dataset": {"num_train": 600}}, "num_train (640 against 600)", ALL - {SPEED, STEP}),
        ({"dataset": {"num_val": 60}}, "num_val (0 against 60)", {TIME, STEPS, VAL}),
        ({"config": {"eval_split": "val"}}, "eval_split (test against val)", {TIME, STEPS}),
        ({"result": {"target_accuracy": 0.9}}, "target (97 % against 90 %)", {TIME, STEPS}),
        ({"config": {"loss": "mse"}}, "loss (cross-entropy against mse)", {LOSS}),
    ],
)
def test_what_a_metric_needs_and_is_not_alike_is_named_and_gets_no_verdict(
    make_pairs, changes, named, refused
):
    a, b = make_pairs(8, factor=0.5)
    for key, values in changes.items():
        for index, record in enumerate(b):
            old = getattr(record, key)
            new = (
                old | values if isinstance(old, dict) else type(old)(**(old.model_dump() | values))
            )
            b[index] = record.model_copy(update={key: new})
    table = compare(a, b, metrics=sorted(ALL))
    assert {r.metric for r in table.rows if r.refusal} == refused
    assert {r.refusal for r in table.rows} - {None} == {f"different {named.split(' (')[0]}"}
    assert {r.verdict for r in table.rows if r.refusal} == {"no verdict"}
    assert all(r.p is None for r in table.rows if r.refusal)
    assert any(named in note for note in table.notes)
    assert row(table, SPEED).verdict == ("no verdict" if SPEED in refused else "slower")
    forced = compare(a, b, metrics=sorted(ALL), force=True)
    assert row(forced, SPEED).verdict == "slower"
    assert any(named in note for note in forced.notes)


def test_other_code_of_ones_own_is_compared_and_named(make_record):
    one, other = ([*own_code(digit), *own_code(3, place="same")] for digit in (1, 2))
    a = [make_record(seed, code=one) for seed in range(8)]
    b = slower([make_record(seed, code=other) for seed in range(8)], 2)
    table = compare(a, b, metrics=[TIME, TEST, LOSS])
    assert row(table, TIME).verdict == "slower"
    assert row(table, TEST).refusal is None
    assert row(table, LOSS).refusal == "different code of the loss"  # the scale may be another
    assert "B differs in: code of my_nets 2222222222 instead of 1111111111" in table.notes
    assert not any("instead" in note for note in compare(a, a, metrics=[TEST]).notes)


def test_a_side_of_two_contents_of_a_file_gets_no_verdict(make_record):
    a = [make_record(seed) for seed in range(8)]
    b = [make_record(seed, code=own_code(1 + seed % 2)) for seed in range(8)]
    match = as_one(a, b)
    said = "the runs of B are of other code each: my_nets 1111111111; my_nets 2222222222"
    assert {not_alike(match, METRICS[name]) for name in ALL} == {said}
    assert not_alike(as_one(a, b[::2]), METRICS[SPEED]) is None


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


def test_a_run_that_failed_and_was_made_again_is_not_lost(make_record):
    a = [make_record(seed) for seed in range(6)]
    b = [*a, make_record(0, (0.5,), status="failed", created_at="2025-12-31")]
    table = compare(a, b, metrics=["samples_per_s", "test_accuracy"])
    assert [r.refusal for r in table.rows] == [None, None]
    assert [r.b.n for r in table.rows] == [6, 6]
    assert table.rows[0].b_problem is None


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
    assert reason == "not run in turn, and the machine's own speed changed by -30 % from A to B"
    in_turn = [
        [r.model_copy(update={"canary": canary(speed, speed)}) for r in side]
        for side, speed in zip(make_pairs(8), (1e9, 7e8), strict=True)
    ]
    assert row(compare(*in_turn), "samples_per_s").reason is None


def test_what_the_machine_may_explain_is_no_verdict_and_what_it_cannot_is_one(make_side):
    speeds = [1000.0 + seed for seed in range(8)]
    for probe, factor, verdict in (
        (1.0, 0.95, "slower"),  # the machine did not change
        (0.95, 0.95, "no verdict"),
        (0.95, 0.80, "slower"),  # by more than the machine
        (0.95, 1.05, "faster"),  # on a slower machine
        (1.05, 0.95, "slower"),
        (1.10, 1.05, "no verdict"),
    ):
        a = make_side(speeds, canary=canary(1e9, 1e9))
        now = canary(probe * 1e9, probe * 1e9)
        b = make_side([factor * speed for speed in speeds], canary=now, minute=60)
        speed = row(compare(a, b), "samples_per_s")
        assert (probe, factor, speed.verdict) == (probe, factor, verdict)
        assert speed.caveat == "not run in turn"
        assert ("may be all of the difference" in (speed.reason or "")) == (verdict == "no verdict")


def test_a_machine_may_explain_a_difference_of_censored_times(make_record):
    """Of these there is no interval: what is left without the machine's change is tested."""

    def side(factor, minute, probe):
        made = [make_record(seed, (0.5, 0.6, 0.7, 0.98 if seed else 0.8)) for seed in range(8)]
        return [
            record.model_copy(
                update={
                    "created_at": f"2026-01-01T{minute}:0{record.seed}:00",
                    "canary": canary(probe, probe),
                }
            )
            for record in slower(made, factor)
        ]

    a = side(1.0, 10, 1e9)
    for factor, probe, verdict in ((1.6, 1e9, "slower"), (1.6, 0.82e9, "no verdict")):
        b = side(factor, 12, probe)
        (time,) = compare(a, b, metrics=["time_to_accuracy_s"]).rows
        assert (time.a.reached, time.verdict) == (7, verdict)


def test_forced_verdicts_say_what_would_have_forbidden_them(make_pairs):
    a, b = make_pairs(10, factor=0.9)
    b = [r.model_copy(update={"canary": canary(1e9, 5e8)}) for r in b]
    forced = compare(a, b, force=True)
    assert row(forced, "samples_per_s").verdict == "slower"
    assert "forced: the machine's own speed moved during 10 of 10 runs of B" in forced.notes


@pytest.mark.parametrize("first", ["A", "B"])
def test_sides_of_which_one_goes_first_each_time_are_said_not_to_be_balanced(make_side, first):
    early, late = [2 * k for k in range(8)], [2 * k + 1 for k in range(8)]
    minutes = (early, late) if first == "A" else (late, early)
    a, b = (
        make_side([speed + k for k in range(8)], minutes=m)
        for speed, m in zip((1000.0, 900.0), minutes, strict=True)
    )
    speed, accuracy = compare(a, b, metrics=["samples_per_s", "test_accuracy"]).rows
    assert not speed.sample.paired
    assert (speed.verdict, speed.caveat) == (
        "slower",
        f"not balanced: {first} first each time",
    )
    assert accuracy.caveat is None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"environment": {"measured_alone": False}}, "were measured beside other runs"),
        ({"stood_still_s": 6.0}, "stood still"),
    ],
)
def test_times_of_spoiled_runs_get_no_verdict_but_steps_and_accuracies_do(make_pairs, change, what):
    a, b = make_pairs(10, factor=0.9)
    environment = b[0].environment | change.get("environment", {})
    b[3] = b[3].model_copy(update=change | {"environment": environment})
    names = ["samples_per_s", "time_to_accuracy_s", "steps_to_accuracy", "test_accuracy"]
    why = f"1 of 10 runs of B {what}"
    table = compare(a, b, metrics=names)
    assert [r.reason for r in table.rows[:2]] == [why, why]
    assert [r.verdict for r in table.rows[2:]] == ["no difference seen"] * 2
    assert row(table, "samples_per_s").b_problem == why
    assert row(table, "test_accuracy").b_problem is None
    (speed,) = compare(b, a, metrics=["samples_per_s"]).rows
    assert speed.reason == why.replace("B", "A")
    assert row(compare(a, b, metrics=names, force=True), "samples_per_s").verdict == "slower"


def test_a_run_that_went_on_under_other_code_gets_no_verdict_at_all(make_pairs):
    a, b = make_pairs(10, factor=0.9)
    b[3] = b[3].model_copy(update={"interruptions": [interruption(git_commit=["a" * 40, None])]})
    why = "1 of 10 runs of B went on under other code"
    table = compare(a, b, metrics=["samples_per_s", "test_accuracy"])
    assert [row.reason for row in table.rows] == [why, why]
    assert [row.b_problem for row in table.rows] == [why, why]


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
    assert not_alike(as_one(a, b), METRICS["test_accuracy"]) == why
    for row_ in compare_matches([as_one(a, b)], metrics=names).rows:
        assert (row_.verdict, row_.reason, row_.b_problem) == ("no verdict", why, why)
