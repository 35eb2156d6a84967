"""Scaling reports as a user reads them, and as data in full precision."""

import csv
import io
import json

import pytest

from mnistbench.analysis.scaling.analysis import analyse_scaling
from mnistbench.output.scaling_table import render_scaling, scaling_notes, verdict_lines
from mnistbench.schema.record import Link
from tests.made_sweep import LINK, MOVED, make_run, make_sweep
from tests.output.table_text import cells


@pytest.fixture(scope="module")
def sweep():
    return make_sweep(processes=(1, 2, 4, 8), cores=4)


def text_of(records, *, table_format="table", **choice):
    return render_scaling(analyse_scaling(records, **choice), table_format=table_format)


def table(text, title):
    """The rows of the table below `title`."""
    return cells(text.split(f"{title}:\n\n")[1].split("\n\n")[0])


def moved(records, *indices):
    return [
        run.model_copy(update={"canary": MOVED}) if index in indices else run
        for index, run in enumerate(records)
    ]


def test_the_verdicts_come_first_and_the_forecast_last(sweep):
    text = text_of(sweep)
    assert text.startswith("simple-cnn on mnist: at best ")
    titles = ["Measured", "Against one process", "Held out", "Forecast, conditional on the model"]
    places = [text.index(f"\n{title}:\n") for title in titles]
    assert places == sorted(places)


def test_the_verdict_is_the_largest_speedup_and_the_error_of_the_model(sweep):
    (report,) = analyse_scaling(sweep)
    best, model = verdict_lines(report)
    row = max((r for r in table(text_of(sweep), "Against one process")), key=speedup)
    assert (
        f"at best {row['× samples/s']} × the samples/s of one process, {row['× to 97 %']}" in best
    )
    assert best.endswith("× as fast to 97 %: 4 × 1 at batch 256, weak scaling")
    assert "where fitted (1, 2 processes) -" in model
    errors = [f"{round(100 * check.error):+d} %" for check in report.held_out]
    assert f"held out {errors[1]} to {errors[0]} (n = 2)" in model
    assert f"share cores, which it does not know, {errors[2]} to {errors[3]} (n = 2)" in model


def speedup(row):
    return float(row["× samples/s"].split()[0])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"processes": (1, 2)}, " % (n = 4); nothing held out"),
        ({"environment": {"measured_alone": False}}, "no model: no setup was timed with a core"),
        ({"environment": {"measured_alone": False}}, "no samples/s of one process and of several"),
        (
            {"link": None, "cores": 8},
            "where fitted (1, 2 processes) +0 % (n = 2); held out not known",
        ),
    ],
)
def test_what_is_not_known_is_said(values, says):
    (report,) = analyse_scaling(make_sweep(**values))
    assert says in "\n".join(verdict_lines(report))


def test_each_topology_is_a_row_with_where_its_step_goes(sweep):
    rows = table(text_of(sweep), "Measured")
    assert [(r["processes × threads"], r["global batch"], r["n"]) for r in rows] == [
        (f"{count} × 1", batch, "5") for count in (1, 2, 4, 8) for batch in ("64", "256")
    ]
    assert "±" in rows[0]["samples/s"]
    assert [row["slowest process"] for row in rows[::2]] == ["–", "1", "3", "7"]
    for row in rows[2:]:
        parts = sum(float(row[name]) for name in ("compute", "communication", "wait"))
        assert parts == pytest.approx(float(row["step ms"]), rel=0.01)
    unsplit = table(text_of(make_sweep(split=False)), "Measured")
    assert {row["compute"] for row in unsplit} == {"–"}
    assert {row["step ms"] for row in unsplit}.isdisjoint({"–"})


def test_runs_that_were_not_timed_and_repeats_of_a_seed_are_counted_apart():
    records = make_sweep(processes=(1, 2), batches=(64,))
    records[-1] = records[-1].model_copy(update={"status": "interrupted"})
    assert [row["n"] for row in table(text_of(records), "Measured")] == ["5", "5, 4 timed"]
    again = make_run(2, 64, 0, draw=1).model_copy(update={"run_id": "again"})
    rows = table(text_of([*records[:-1], again]), "Measured")
    assert [row["n"] for row in rows] == ["5", "5, 4 seeds"]


def test_speedups_have_intervals_and_efficiency_is_for_as_many_threads(sweep):
    rows = table(text_of(sweep), "Against one process")
    assert [(r["processes × threads"], r["global batch"], r["scaling"]) for r in rows[:5]] == [
        ("2 × 1", "64", "strong"),
        ("2 × 1", "256", "strong"),
        ("4 × 1", "64", "strong"),
        ("4 × 1", "256", "strong"),
        ("4 × 1", "256", "weak"),
    ]
    assert rows[4]["one process"] == "1 × 1, 64"
    assert rows[0]["× steps"] == "1.00 (1.00–1.00)"
    for row in rows:
        low, high = row["× samples/s"].split("(")[1].rstrip(")").split("–")
        assert float(low) < speedup(row) < float(high)
        assert float(row["efficiency %"]) == pytest.approx(
            100 * speedup(row) / int(row["processes × threads"][0]), abs=1
        )
    threads = make_sweep(processes=(1, 2), batches=(64,), threads=lambda n: 2 // n)
    (row,) = table(text_of(threads), "Against one process")
    assert float(row["efficiency %"]) == pytest.approx(100 * speedup(row), abs=1)


def test_what_was_held_out_stands_beside_its_prediction(sweep):
    rows = table(text_of(sweep), "Held out")
    shown = [(row["processes × threads"], row["threads per core"]) for row in rows]
    assert shown == 2 * [("4 × 1", "1")] + 2 * [("8 × 1", "2")]
    assert all(abs(int(row["error %"])) <= 3 for row in rows[:2])
    assert "Held out" not in text_of(make_sweep(processes=(1, 2)))
    rows = table(text_of(sweep, fit_on=(1,)), "Held out")
    assert {(row["predicted"], row["error %"]) for row in rows} == {("–", "–")}


def test_a_forecast_is_said_to_be_conditional(sweep):
    text = text_of(sweep)
    rows = table(text, "Forecast, conditional on the model")
    assert [(row["scaling"], row["processes"]) for row in rows[:2]] == [
        ("strong", "8"),
        ("strong", "16"),
    ]
    assert "a forecast has no interval: it is conditional on a law that the fit" in text


def test_json_holds_every_row_in_full(sweep):
    (report,) = json.loads(text_of(sweep, table_format="json"))
    assert report["configuration"] == "simple-cnn on mnist"
    assert report["target_accuracy"] == 0.97
    names = ("measured", "speedups", "held_out", "forecast", "verdicts")
    assert [len(report[name]) for name in names] == [8, 7, 4, 8, 2]
    row = next(r for r in report["speedups"] if r["scaling"] == "weak")
    assert row["efficiency"] == row["speed"]["value"] / 4
    assert (row["base_threads"], row["num_processes"], row["num_cores"]) == (1, 4, 4)
    product = row["speed"]["value"] / 4 * row["steps"]["value"]
    assert row["time"]["value"] == pytest.approx(product, rel=0.05)
    measured = report["measured"][2]
    assert measured["samples_per_s"]["n"] == measured["steps"]["reached"] == measured["timed"] == 5
    split = measured["split"]
    parts = split["compute_s"] + split["communication_s"] + split["wait_s"]
    assert parts == pytest.approx(measured["step_s"])
    assert report["model"]["fixed_s"] == pytest.approx(2e-3, rel=0.15)
    assert report["model"]["link"] == LINK.model_dump()
    assert [abs(r["error"]) < 0.1 for r in report["held_out"]] == [True, True, False, False]
    unmodelled = make_sweep(environment={"measured_alone": False})
    assert json.loads(text_of(unmodelled, table_format="json"))[0]["model"] is None


def test_csv_names_the_table_of_each_row(sweep):
    rows = list(csv.DictReader(io.StringIO(text_of(sweep, table_format="csv"))))
    assert list(dict.fromkeys(r["table"] for r in rows)) == [
        "measured",
        "speedups",
        "held_out",
        "forecast",
    ]
    assert float(rows[0]["samples_per_s_value"]) > 1000
    assert rows[0]["speed_value"] == ""
    assert float(rows[8]["speed_value"]) > 0


def test_several_configurations_are_named(sweep):
    text = text_of([*sweep, *make_sweep(config={"lr": 0.5})])
    assert "simple-cnn on mnist, lr 0.01: at best" in text
    assert "\n\nsimple-cnn on mnist, lr 0.5: at best" in text


def test_markdown_has_lines_of_their_own(sweep):
    text = text_of(sweep, table_format="markdown")
    assert "| 1 × 1 " in text
    assert "\n\nthe model's samples/s are off by: " in text


SLOW = Link(latency_s=1e-3, bandwidth_bytes_per_s=1e7)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (make_sweep, "the model: a process with a core for each thread computes "),
        (make_sweep, "an exchange takes 0.3"),
        (
            lambda: make_sweep(link=None),
            "what an exchange takes is not known, as no link was measured",
        ),
        (
            lambda: [*make_sweep(), *make_sweep(processes=(1,), threads=2)],
            "not fitted, 1 × 2: other threads than most processes have",
        ),
        (
            lambda: [run for n in (1, 2) for run in make_sweep((n,), (64 * n,))],
            "to compute is taken to go by the samples alone; sweep over batches",
        ),
        (
            lambda: make_sweep(processes=(1, 2), batches=(64,)),
            "an exchange is taken to cost its link alone; sweep over batches",
        ),
        (
            lambda: [
                *make_sweep(processes=(1,), environment={"git_commit": "a" * 40}),
                *make_sweep(processes=(2,), environment={"git_commit": "b" * 40}),
            ],
            "runs are of 2 commits: aaaaaaaaaa, bbbbbbbbbb",
        ),
        (
            lambda: [
                *make_sweep(processes=(1, 2), seeds=range(4)),
                *make_sweep(processes=(2,), seeds=[4], link=SLOW),
            ],
            "runs found links of very different speeds: report each by itself",
        ),
        (
            lambda: make_sweep(environment={"measured_alone": False}),
            "‡ measured beside other runs (30 of 30 runs): no time verdict",
        ),
    ],
)
def test_what_bounds_a_conclusion_is_said(records, says):
    (report,) = analyse_scaling(records())
    assert any(says in line for line in scaling_notes(report))


def test_times_of_a_machine_that_moved_are_marked():
    text = text_of(moved(make_sweep(processes=(1, 2, 4), batches=(64,), cores=4), 5))
    assert [row["samples/s"][-1] == "†" for row in table(text, "Measured")] == [False, True, False]
    rows = table(text, "Against one process")
    assert [row["× samples/s"][-1] == "†" for row in rows] == [True, False]
    assert [row["× to 97 %"][-1] == "†" for row in rows] == [True, False]
    assert "† the machine's own speed moved" in text
