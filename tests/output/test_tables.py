"""Rows from records: grouped by seed, with intervals, and nothing guessed."""

import csv
import io
import json
import math

import pytest

from mnistbench.analysis.number_text import WALL_NOTE
from mnistbench.output.screen import Screen
from mnistbench.output.tables import (
    render_epochs,
    render_rules,
    render_runs,
    render_table,
    render_targets,
    run_lines,
)
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RecipeInfo, Result, Throughput
from mnistbench.stats.intervals import mean_interval
from tests.output.table_text import cells


def test_one_run_is_one_row_with_its_figures(make_record):
    (row, *_) = cells(render_runs([make_record()], table_format="table"))
    assert row == {
        "recipe": "simple-cnn",
        "dataset": "mnist (local)",
        "device": "cpu × 2 × 1 threads",
        "batch": "64 in all",
        "precision": "no",
        "loop": "fast/resident",
        "samples/s": "1,000",
        "epochs": "3",
        "val acc %": "–",
        "test acc %": "98.00",
        "time to 97 % s": "5.00 (4.00–6.00)",
        "wall s": "10.00",
        "start s": "–",
    }


def test_seeds_are_one_row_with_their_interval(make_record):
    records = [make_record(seed, (0.9, 0.95, 0.97 + seed / 1000)) for seed in range(3)]
    text = render_runs(records, table_format="table")
    row = cells(text)[0]
    expected = mean_interval([1000.0, 1010.0, 1020.0])
    assert row["samples/s"] == f"1,010 ± {expected.high - expected.value:,.0f}"
    assert row["test acc %"] == "97.10 (97.00–97.20)"
    assert row["n"] == "3"
    assert "± is half the width of the 95 % interval of the mean over n runs" in text
    assert "an accuracy is the median over seeds (smallest–largest)" in text
    per_run = cells(render_runs(records, table_format="table", per_run=True))
    assert [r["test acc %"] for r in per_run[:3]] == ["97.00", "97.10", "97.20"]


def test_curves_are_scored_again_at_any_target(make_record):
    records = [make_record(0), make_record(1), make_record(0, name="cnn4-ce")]
    rows = cells(render_targets(records, [0.9, 0.975, 0.999], table_format="table"))[:6]
    assert [(row["recipe"], row["target"]) for row in rows] == [
        (recipe, target)
        for recipe in ("simple-cnn", "cnn4-ce")
        for target in ("90 %", "97.5 %", "99.9 %")
    ]
    assert rows[0] == {
        "recipe": "simple-cnn",
        "dataset": "mnist",
        "target": "90 %",
        "median s": "≤ 2.05 (–)",
        "reached": "2 of 2",
        "expected s": "2.05 (–)",
        "steps": "≤ 10 (–)",
    }
    times = ["≤ 2.00", "5.00 (4.00–6.00)", "not reached"]
    assert [row["median s"] for row in rows[3:]] == times
    assert [row["steps"] for row in rows[3:]] == ["≤ 10", "25 (20–30)", "not reached"]
    assert [row["reached"] for row in rows[3:]] == ["1 of 1", "1 of 1", "0 of 1"]
    values = json.loads(render_targets(records, [0.9, 0.999], table_format="json"))
    assert [value["target_accuracy"] for value in values] == [0.9, 0.999] * 2
    assert [values[0][f"steps_to_accuracy{end}"] for end in ("", "_above", "_at_most")] == [
        5,
        0,
        10,
    ]
    assert values[1]["time_to_accuracy_s_reached"] == 0


def test_rules_are_a_row_each_at_the_runs_own_target_or_others(make_record):
    records = [make_record(seed) for seed in range(3)]
    rows = cells(render_rules(records, [], table_format="table"))
    assert [row["rule"] for row in rows[:6]] == [
        "mnistbench",
        "MLPerf Training",
        "AlgoPerf",
        "DAWNBench",
        "airbench",
        "modded-nanogpt",
    ]
    assert rows[3] == {
        "recipe": "simple-cnn",
        "dataset": "mnist",
        "target": "97 %",
        "rule": "DAWNBench",
        "clock": "start + train",
        "aggregate": "the first run",
        "time s": "6.00",
        "n": "1",
        "remark": "seed 0, without what is in no phase, without the start of the program",
    }
    assert rows[2]["remark"] == "its target is on validation; read on test"
    assert rows[1]["time s"] == rows[2]["time s"] == "–"
    text = render_rules(records, [], table_format="table")
    assert text.splitlines()[-5].startswith("MLPerf Training: mlcommons/training_policies, ")
    text = render_rules(records, [0.9, 0.95], table_format="csv")
    values = list(csv.DictReader(io.StringIO(text)))
    assert [value["target_accuracy"] for value in values] == ["0.9"] * 6 + ["0.95"] * 6
    with pytest.raises(InputError, match="no run has a target"):
        render_rules([make_record(target=None)], [], table_format="table")


def test_rows_of_one_name_say_what_they_differ_in(make_record):
    quick, slow = make_record(0), make_record(0)
    slow = slow.model_copy(update={"config": quick.config | {"lr": 0.5}})
    rows = cells(render_runs([quick, slow], table_format="table"))
    assert [row["lr"] for row in rows[:2]] == ["0.01", "0.5"]


def test_rows_that_only_the_code_sets_apart_say_so(make_record):
    environment = make_record().environment
    old, new = (
        make_record(0, environment=environment | {"git_commit": commit, "versions": {"torch": v}})
        for commit, v in (("abc", "2.11"), ("def", "2.14"))
    )
    rows = cells(render_runs([old, new], table_format="table"))
    assert [(row["git_commit"], row["torch"]) for row in rows[:2]] == [
        ("abc", "2.11"),
        ("def", "2.14"),
    ]


def test_wall_time_over_seeds_leaves_out_what_they_share(make_record):
    phases = make_record().phases_s
    cold = make_record(0, wall_s=14.0, phases_s=phases | {"import": 3.0, "data": 1.0})
    warm = make_record(1, wall_s=10.0)
    text = render_runs([cold, warm], table_format="table")
    assert cells(text)[0]["wall s"] == "10.00 ± 0.00"
    assert cells(text)[0]["start s"] == "4.00"  # of the one run that began a process
    note = "wall s leaves out start s: import, startup and data"
    assert note in text
    narrow = render_runs([cold, warm], table_format="table", screen=Screen(65))
    assert "start s, wall s" in narrow
    assert note not in narrow


def test_notes_stay_outside_a_markdown_table(make_record):
    text = render_runs([make_record()], table_format="markdown")
    assert text.splitlines()[3] == ""


def test_what_was_not_measured_is_a_dash_or_null(make_record):
    empty = make_record(
        throughput=Throughput(), result=Result(), dataset=None, target=None, status="interrupted"
    )
    row = cells(render_runs([empty], table_format="table"))[0]
    assert [row[k] for k in ("dataset", "samples/s", "test acc %", "time to target s")] == ["–"] * 4
    assert row["status"] == "interrupted"
    values = json.loads(render_runs([empty], table_format="json"))[0]
    assert values["samples_per_s"] is None
    assert values["test_accuracy"] is None


def test_a_figure_of_fewer_runs_than_its_row_says_so(make_record):
    records = [make_record(0), make_record(1, throughput=Throughput())]
    row = cells(render_runs(records, table_format="table"))[0]
    assert (row["samples/s"], row["n"]) == ("1,000 (n = 1)", "2")


def test_repeats_of_a_seed_are_shown_and_what_they_are_left_out_of_is_said(make_record):
    records = [
        make_record(
            0,
            (0.9, 0.95, 0.97 + day / 1000),
            run_id=f"day-{day}",
            created_at=f"2026-01-0{day}",
            throughput=Throughput(samples_per_s=1000.0 + day),
        )
        for day in range(1, 9)
    ]
    text = render_runs(records, table_format="table")
    row = cells(text)[0]
    assert row["n"] == "8 (1 seed)"
    assert row["samples/s"].startswith("1,004 ± ")
    assert row["test acc %"] == "97.80"  # the newest
    assert (
        "repeats of a seed (7) count in times and speeds, not in accuracies and times to a target, "
        "which are of each seed's newest run; test accuracies of repeats are up to 0.70 "
        "points apart" in text
    )
    two = [*records, make_record(1), make_record(2, status="failed")]
    assert cells(render_runs(two, table_format="table"))[0]["n"] == "9 of 10 (3 seeds)"
    per_run = cells(render_runs(records, table_format="table", per_run=True))[:8]
    assert [(r["run"], r["seed"]) for r in per_run] == [(f"day-{d}", "0") for d in range(1, 9)]
    assert [r["samples/s"] for r in per_run[:2]] == ["1,001", "1,002"]


def test_no_figure_of_an_accuracy_passes_100_percent(make_record):
    accuracies = (0.98, 0.979, 0.981, 0.55, 0.98)
    records = [make_record(seed, (a,)) for seed, a in enumerate(accuracies)]
    for row in (
        cells(render_runs(records, table_format="table"))[0]["test acc %"],
        cells(render_epochs(records, table_format="table"))[0]["simple-cnn on mnist (n = 5)"],
    ):
        assert row == "98.00 (55.00–98.10)"
    (value,) = json.loads(render_runs(records, table_format="json"))
    told = [value[f"test_accuracy{end}"] for end in ("", "_low", "_high", "_n")]
    assert told == [0.98, 0.55, 0.981, 5]


def test_records_without_a_configuration_are_rows_of_what_there_is(make_record):
    bare = {"recipe": None, "dataset": None, "eval_points": [], "config": {}, "environment": {}}
    records = [make_record(num_parameters=number, **bare) for number in (1000, 5_000_000)]
    rows = cells(render_runs(records, table_format="table"))[:2]
    assert [row["recipe"] for row in rows] == ["1,000 parameters", "5,000,000 parameters"]


def test_a_changed_recipe_is_marked_and_told(make_record):
    info = RecipeInfo(name="simple-cnn", source="a page", changed=["lr", "num_epochs"])
    text = render_runs([make_record(recipe=info)], table_format="table")
    assert cells(text)[0]["recipe"] == "simple-cnn*"
    assert "* simple-cnn changed in: lr, num_epochs" in text


def test_the_reading_of_the_test_set_is_told(make_record):
    assert "test set was read after each epoch" in render_runs(
        [make_record()], table_format="table"
    )


def test_markup_in_a_cell_stays_text_in_markdown():
    text = render_table([{"name": "a|b <script>\n1e5", "n": "1e5"}], "markdown")
    row = text.splitlines()[2]
    assert "a\\|b &lt;script&gt; 1e5" in row
    assert row.split("|")[-2].strip() == "1e5"
    assert len(text.splitlines()) == 3


def test_csv_has_a_column_for_each_number(make_record):
    records = [make_record(0), make_record(1), make_record(0, name="cnn4-ce")]
    rows = list(csv.DictReader(io.StringIO(render_runs(records, table_format="csv"))))
    assert [row["recipe"] for row in rows] == ["simple-cnn", "cnn4-ce"]
    assert float(rows[0]["samples_per_s"]) == 1005.0
    assert rows[0]["seeds"] == "0 1"
    assert rows[1]["samples_per_s_low"] == ""


@pytest.mark.parametrize("table_format", ["table", "markdown", "csv", "json"])
def test_every_format_shows_every_group(make_record, table_format):
    text = render_runs([make_record(), make_record(name="cnn4-ce")], table_format=table_format)
    assert "simple-cnn" in text
    assert "cnn4-ce" in text


def test_accuracy_by_epoch_is_a_column_for_each_group(make_record):
    records = [make_record(0), make_record(1, (0.91, 0.95, 0.98)), make_record(0, name="cnn4-ce")]
    text = render_epochs(records, table_format="table")
    assert text.splitlines()[-1] == "an accuracy is the median over seeds (smallest–largest)"
    rows = cells(text)[:3]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["simple-cnn on mnist (n = 2)"] == "90.50 (90.00–91.00)"
    assert rows[2]["cnn4-ce on mnist"] == "98.00"
    values = json.loads(render_epochs(records, table_format="json"))
    assert values[0]["accuracy"] == pytest.approx(0.905)
    assert len(values) == 6


def test_what_all_columns_share_is_said_once(make_record):
    config = make_record().config
    records = [
        make_record(seed, recipe=None, config=config | {"loss": loss, "lr": 0.5})
        for loss in ("mse", "kl")
        for seed in (0, 1)
    ]
    above, head, *_ = render_epochs(records, table_format="table").splitlines()
    assert above == "all columns: simple-cnn on mnist (n = 2)"
    assert head.split() == ["epoch", "mse", "kl"]
    (one, *_) = render_epochs(records[:2], table_format="markdown").splitlines()
    assert "| simple-cnn, mse on mnist (n = 2) " in one


def test_groups_of_one_name_say_their_devices(make_record):
    device = make_record().environment | {"num_processes": 4}
    records = [make_record(0), make_record(0, environment=device), make_record(0, target=0.5)]
    (row, *_) = cells(render_epochs(records, table_format="table"))
    assert list(row) == [
        "epoch",
        "simple-cnn, target_accuracy 0.97 on mnist, cpu × 2 × 1 threads",
        "simple-cnn, target_accuracy 0.97 on mnist, cpu × 4 × 1 threads",
        "simple-cnn, target_accuracy 0.5 on mnist",
    ]


def test_an_epoch_that_one_seed_did_not_reach_is_left_out(make_record):
    records = [make_record(0), make_record(1, (0.9, 0.95))]
    values = json.loads(render_epochs(records, table_format="json"))
    assert [value["epoch"] for value in values] == [1, 2]


def test_runs_that_ended_within_their_first_epoch_have_no_epochs_to_show(make_record):
    with pytest.raises(InputError, match="no run was evaluated after a whole epoch"):
        render_epochs([make_record(eval_points=[])], table_format="table")


def test_a_first_run_that_failed_hides_no_target(make_record):
    failed = make_record(0, status="failed", eval_points=[], result=Result())
    rows = cells(render_runs([failed, make_record(1), make_record(2)], table_format="table"))
    assert rows[0]["time to 97 % s"].endswith("), 2 of 3")


MATTERS = ("0.1", "0.2", "samples/s", "time", "5.10", "diverged")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200, math.inf])
def test_lines_of_any_width_have_what_matters_most(make_record, width):
    config = make_record().config
    records = [
        make_record(seed, config=config | {"lr": lr}, status=status)
        for lr, status in ((0.1, "completed"), (0.2, "diverged"))
        for seed in range(3)
    ]
    head, rows, left_out, notes = run_lines(records, width)
    table = "\n".join((*head, *rows))
    assert all(name in table for name in MATTERS)
    everything = " ".join(run_lines(records, math.inf)[3])
    if "wall s" not in table and "start s" not in table:
        everything = everything.replace(WALL_NOTE, "")
    assert " ".join(notes).split() == everything.split()
    assert max(map(len, (*head, *rows, *left_out, *notes))) <= width
    assert (len(rows) == 2) == (width >= 40)
    assert table.startswith("all rows: recipe") == (width < math.inf)
    assert bool(left_out) == (40 <= width <= 60)
