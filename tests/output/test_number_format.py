"""What a cell says: censored times, marks, and the notes that explain them."""

import json

import pytest

from bench.make_references import build_reference
from mnistbench.analysis.machine_drift import DRIFT_BOUND
from mnistbench.analysis.metrics import score_target
from mnistbench.output.tables import render_epochs, render_rules, render_runs, render_targets
from mnistbench.schema.record import Canary, CanaryReading, Result, Throughput
from tests.made_records import profiled
from tests.output.table_text import cells


def test_the_time_to_target_is_a_median_with_its_interval_and_count(make_record):
    records = [make_record(seed) for seed in range(7)]
    score = score_target(records, 0.97).time_s
    text = render_runs(records, table_format="table")
    expected = f"5.30 ({score.low:.2f}–{score.high:.2f}), 7 of 7"
    assert cells(text)[0]["time to 97 % s"] == expected
    assert "time to target of several seeds is their median (95 % interval" in text
    row = json.loads(render_runs(records, table_format="json"))[0]
    assert {k.removeprefix("time_to_accuracy_s"): v for k, v in row.items() if "time_to" in k} == {
        "": pytest.approx(5.3),
        "_low": score.low,
        "_high": score.high,
        "_above": pytest.approx(4.3),
        "_at_most": pytest.approx(6.3),
        "_reached": 7,
        "_n": 7,
    }
    assert row["expected_time_s"] == pytest.approx(6.3)
    assert row["expected_time_s_low"] is None  # where none failed it has no interval


@pytest.mark.parametrize(
    ("reaching", "n", "expected"),
    [
        (5, 5, "5.20 (–), 5 of 5"),  # six would be enough for an interval
        (1, 2, "6.00 (–), 1 of 2"),
        (2, 5, "2 of 5 reached"),
        (0, 5, "0 of 5 reached"),
        (6, 8, "5.50 (4.0{}–∞), 6 of 8"),
        (0, 1, "not reached"),
        (1, 1, "5.00 (4.00–6.00)"),
    ],
)
def test_a_run_that_missed_the_target_is_censored(make_record, reaching, n, expected):
    records = [
        make_record(seed, (0.9, 0.95, 0.98 if seed < reaching else 0.96)) for seed in range(n)
    ]
    (cell, *_) = [r["time to 97 % s"] for r in cells(render_runs(records, table_format="table"))]
    if "{}" in expected:
        low = score_target(records, 0.97).time_s.low
        expected = expected.replace("4.0{}", f"{low:.2f}")
    assert cell == expected


def test_a_diverged_seed_counts_in_the_time_to_target_and_in_no_mean(make_record):
    lost = make_record(
        4,
        (0.1,),
        status="diverged",
        throughput=Throughput(samples_per_s=1.0),
        result=Result(test_accuracy=0.1, target_accuracy=0.97),
    )
    records = [*(make_record(seed) for seed in range(4)), lost]
    text = render_runs(records, table_format="table")
    row = cells(text)[0]
    assert row["time to 97 % s"] == "5.36 (–), 4 of 5"
    assert row["test acc %"] == "98.00 (98.00–98.00)"
    assert row["samples/s"].startswith("1,015")
    assert (row["n"], row["status"]) == ("4 of 5", "4 completed, 1 diverged")
    assert "in the time to target only: 1 run that did not complete" in text
    values = json.loads(render_runs(records, table_format="json"))[0]
    assert (values["n"], values["completed"], values["test_accuracy_n"]) == (5, 4, 4)
    epochs = json.loads(render_epochs(records, table_format="json"))
    assert [value["accuracy_n"] for value in epochs] == [4, 4, 4]
    assert (epochs[0]["recipe"], epochs[0]["n"], epochs[0]["completed"]) == ("simple-cnn", 5, 4)


def test_a_machine_that_moved_marks_the_times_of_its_rows(make_record):
    def canary(after):
        reading = CanaryReading(matmul_flops_per_s=100.0, copy_bytes_per_s=10.0)
        moved = reading.model_copy(update={"matmul_flops_per_s": after})
        return Canary(before=reading, after=moved)

    records = [
        make_record(s, canary=canary(100 / (1.1 + DRIFT_BOUND) if s < 2 else 99.0))
        for s in range(5)
    ]
    records += [make_record(0, name="cnn4-ce", canary=canary(100 / (0.99 + DRIFT_BOUND)))]
    text = render_runs(records, table_format="table")
    moved, still = cells(text)[:2]
    for column in ("samples/s", "time to 97 % s", "wall s"):
        assert moved[column].endswith("†")
        assert "†" not in still[column]
    assert "†" not in moved["test acc %"]
    assert (
        f"† the machine's own speed moved by more than {100 * DRIFT_BOUND:g} % during 2 of 5 runs: "
        "these times are unstable" in text
    )
    rows = json.loads(render_runs(records, table_format="json"))
    assert [row["unstable_runs"] for row in rows] == [2, 0]
    assert json.loads(render_runs([make_record()], table_format="json"))[0]["unstable_runs"] is None
    (first, *_) = cells(render_targets(records, [0.97, 0.99], table_format="table"))
    assert first["median s"].endswith("†")
    (first, *_) = cells(render_rules(records, [], table_format="table"))
    assert first["time s"] == "5.20†"


def test_runs_beside_others_mark_their_times_and_count_in_steps_and_accuracies(make_record):
    alone = make_record().environment | {"measured_alone": True}
    shared = alone | {"measured_alone": False}
    records = [make_record(s, environment=shared if s < 2 else alone) for s in range(5)]
    records += [make_record(0, name="cnn4-ce", environment=alone)]
    text = render_runs(records, table_format="table")
    marked, clean = cells(text)[:2]
    for column in ("samples/s", "time to 97 % s", "wall s"):
        assert marked[column].endswith("‡")
        assert "‡" not in clean[column]
    assert marked["test acc %"] == "98.00 (98.00–98.00)"
    assert "‡ measured beside other runs (2 of 5 runs): no time verdict" in text
    rows = json.loads(render_runs(records, table_format="json"))
    assert [row["runs_beside_others"] for row in rows] == [2, 0]
    assert rows[0]["test_accuracy_n"] == 5
    (untold,) = json.loads(render_runs([make_record()], table_format="json"))
    assert untold["runs_beside_others"] is untold["runs_that_stood_still"] is None
    (told,) = json.loads(render_runs([make_record(stood_still_s=6.0)], table_format="json"))
    assert told["runs_that_stood_still"] == 1
    (first, *_) = cells(render_targets(records, [0.97], table_format="table"))
    assert first["median s"].endswith("‡")
    assert "‡" not in first["steps"]
    (first, *_) = cells(render_rules(records, [], table_format="table"))
    assert first["time s"] == "5.20‡"


def test_profiled_runs_have_rows_of_their_own_with_marked_times(make_record):
    records = [make_record(seed) for seed in range(3)]
    records += [profiled(make_record(seed, wall_s=99.0)) for seed in range(2)]
    text = render_runs(records, table_format="table")
    clean, marked = cells(text)[:2]
    for column in ("samples/s", "time to 97 % s", "wall s"):
        assert marked[column].endswith("§")
        assert "§" not in clean[column]
    assert (clean["n"], marked["n"]) == ("3", "2")
    assert marked["test acc %"] == "98.00 (98.00–98.00)"
    assert "§ profiled (2 of 2 runs): these times include what watching cost" in text
    rows = json.loads(render_runs(records, table_format="json"))
    assert [row["profiled_runs"] for row in rows] == [0, 2]
    targets = cells(render_targets(records, [0.97], table_format="table"))
    assert [row["median s"].endswith("§") for row in targets[:2]] == [False, True]
    rules = cells(render_rules(records, [], table_format="table"))
    first = {row["profile"]: row for row in reversed(rules)}
    assert first["none"]["time s"] == "5.10"
    assert first["torch"]["time s"] == "5.05§"


def test_a_time_carries_both_marks_where_both_things_spoiled_it(make_record):
    slow, fast = (CanaryReading(matmul_flops_per_s=x, copy_bytes_per_s=x) for x in (1.0, 2.0))
    environment = make_record().environment | {"measured_alone": False}
    record = make_record(environment=environment, canary=Canary(before=fast, after=slow))
    text = render_runs([record], table_format="table")
    assert cells(text)[0]["samples/s"] == "1,000†‡"
    assert "during the run: these times are unstable" in text
    assert "‡ measured beside other runs (the run): no time verdict" in text


@pytest.mark.parametrize(
    ("environment", "config", "expected"),
    [
        ({"num_processes": 1}, {}, "64"),
        ({"num_processes": 1, "lr_peak": 0.1}, {"per_device_batch_size": 64}, "64"),
        ({"num_processes": 4}, {}, "64 in all"),
        ({"lr_peak": 0.1}, {"per_device_batch_size": 32}, "32 each = 64, lr as given"),
        (
            {"lr_peak": 0.2},
            {"per_device_batch_size": 32, "lr_scaling": "linear"},
            "32 each = 64, lr × 2 (linear)",
        ),
        (
            {"lr_peak": 0.1 * 2**0.5},
            {"per_device_batch_size": 32, "lr_scaling": "sqrt"},
            "32 each = 64, lr × 1.41 (sqrt)",
        ),
        (
            {},
            {"per_device_batch_size": 32, "lr_scaling": "linear"},
            "32 each = 64, lr scaled (linear)",
        ),
        ({"global_batch_size": None}, {}, "–"),
    ],
)
def test_the_table_says_how_the_batch_was_set(make_record, environment, config, expected):
    made = make_record()
    config = made.config | {"lr": 0.1, "lr_scaling": "none", "per_device_batch_size": None} | config
    record = make_record(config=config, environment=made.environment | environment)
    (row, *_) = cells(render_runs([record], table_format="table"))
    assert row["batch"] == expected


def test_data_rows_have_the_batch_and_the_learning_rate_factor_in_full(make_record):
    made = make_record()
    config = made.config | {"lr": 0.1, "per_device_batch_size": 32, "lr_scaling": "sqrt"}
    environment = made.environment | {"lr_peak": 0.1 * 2**0.5}
    (row,) = json.loads(
        render_runs([make_record(config=config, environment=environment)], table_format="json")
    )
    assert row["lr_factor"] == pytest.approx(2**0.5)
    assert (row["global_batch_size"], row["per_device_batch_size"], row["num_processes"]) == (
        64,
        32,
        2,
    )


@pytest.mark.parametrize("table_format", ["table", "markdown", "csv", "json"])
def test_runs_without_a_canary_are_reported_without_a_mark(make_record, table_format):
    records = [make_record(seed, canary=None) for seed in range(3)]
    for text in (
        render_runs(records, table_format=table_format),
        render_targets(records, [0.97], table_format=table_format),
        render_rules(records, [], table_format=table_format),
    ):
        assert "simple-cnn" in text
        assert "†" not in text
        assert "unstable:" not in text


def test_a_run_that_leaves_its_reference_band_says_where(make_record):
    reference = build_reference(
        [make_record(seed, (0.9 + seed / 1000, 0.95, 0.98)) for seed in range(5)], made_by="x"
    )
    inside, wrong = make_record(7, (0.902, 0.95, 0.98)), make_record(8, (0.902, 0.95, 0.5))

    def column(records):
        text = render_runs(records, table_format="table", references=[reference])
        return cells(text)[0].get("reference")

    band = reference.points[2]
    where = f"epoch 3 (50.00 %, band {100 * band.low:.2f}–{100 * band.high:.2f})"
    assert column([inside]) == "inside"
    assert column([wrong]) == f"left at {where}"
    assert column([inside, wrong]) == f"1 of 2 left, seed 8 at {where}"
    other = make_record(7)
    other = other.model_copy(update={"config": other.config | {"lr": 0.5}})
    assert column([other]) is None  # a column in which nothing was checked is left out
    (row,) = json.loads(render_runs([wrong], table_format="json", references=[reference]))
    told = [row[f"reference_{name}"] for name in ("checked", "left", "seeds", "first")]
    assert told == [1, 1, [8], where]
    (row,) = json.loads(render_runs([wrong], table_format="json"))
    assert row["reference_checked"] is row["reference_first"] is None


def test_a_learning_rate_factor_beyond_all_numbers_is_not_known(make_record):
    made = make_record()
    config, environment = made.config | {"lr": 1e-320}, made.environment | {"lr_peak": 1.0}
    record = make_record(config=config, environment=environment)
    (row,) = json.loads(render_runs([record], table_format="json"))
    assert row["lr_factor"] is None


def test_a_target_that_the_first_evaluation_read_is_a_bound(make_record):
    (row, *_) = cells(render_runs([make_record(0, (0.98, 0.98))], table_format="table"))
    assert row["time to 97 % s"] == "≤ 2.00"
    several = [make_record(seed, (0.98, 0.98)) for seed in range(6)]
    (row, *_) = cells(render_runs(several, table_format="table"))
    assert row["time to 97 % s"].startswith("≤ 2.25 (0.00–")
    assert row["time to 97 % s"].endswith("), 6 of 6")


def test_how_sharply_a_time_to_a_target_is_known_is_said(make_record):
    text = render_runs([make_record()], table_format="table")
    known = "a time to a target is known to the spacing of its evaluations, up to 33 % of it here"
    assert f"{known}; ≤: the first evaluation was there already" in text.splitlines()
    assert known in render_targets([make_record()], [0.97], table_format="table")
    assert "spacing" not in render_runs([make_record(target=None)], table_format="table")
    assert "below the target again" not in text
    lucky = [make_record(seed, (0.9, 0.97, 0.9, 0.98, 0.98)) for seed in range(2)]
    text = render_runs([*lucky, make_record(2)], table_format="table")
    assert (
        "2 of 3 runs fell below a target again: the first of two evaluations in a row at the "
        "target counts" in text
    )
