"""Scaling reports as a user reads them, and as data in full precision."""

import csv
import io
import json
from dataclasses import replace

import pytest

from mnistbench.analysis.scaling.study import Choice, study_scaling
from mnistbench.output.scaling_table import render_scaling
from mnistbench.schema.record import Canary, CanaryReading, Link
from tests.made_sweep import LINK, TRUTH, make_sweep
from tests.output.table_text import cells

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture(scope="module")
def sweep():
    return make_sweep()


def text_of(records, *, table_format="table", **choice):
    return render_scaling(study_scaling(records, Choice(**choice)), table_format=table_format)


def table(text, title):
    """The rows of the table below `title`."""
    return cells(text.split(f"{title}:\n\n")[1].split("\n\n")[0])


def notes(text):
    return text.split("\n\n")[-1].splitlines()


def test_the_verdicts_come_first_and_long_tables_last(sweep):
    text = text_of(sweep)
    assert text.startswith("strong, batch 64: 2 processes: ")
    titles = ["Measured", "Against one process", "Held out", "Predicted"]
    places = [text.index(f"\n{title}:\n") for title in titles]
    assert places == sorted(places)


def test_each_setup_is_a_row_with_where_its_step_goes(sweep):
    rows = table(text_of(sweep), "Measured")
    assert [(r["processes × threads"], r["global batch"], r["n"]) for r in rows] == [
        ("1 × 1", "64", "5"),
        ("1 × 1", "256", "5"),
        ("2 × 1", "64", "5"),
        ("2 × 1", "256", "5"),
        ("4 × 1", "64", "5"),
        ("4 × 1", "256", "5"),
    ]
    assert "±" in rows[0]["samples/s"]
    assert [row["slowest process"] for row in rows] == ["–", "–", "1", "1", "3", "3"]
    for row in rows:
        parts = sum(float(row[name]) for name in ("compute", "communication", "wait"))
        assert parts == pytest.approx(float(row["step ms"]), rel=0.01)
    unsplit = table(text_of(make_sweep(split=False)), "Measured")
    assert {row["compute"] for row in unsplit} == {"–"}
    assert {row["step ms"] for row in unsplit}.isdisjoint({"–"})


def test_runs_that_were_not_timed_are_counted_apart():
    records = make_sweep(processes=(1, 2), batches=(64,))
    records[-1] = records[-1].model_copy(update={"status": "interrupted"})
    assert [row["n"] for row in table(text_of(records), "Measured")] == ["5", "5, 4 timed"]


def test_gains_have_their_factors_with_intervals(sweep):
    rows = table(text_of(sweep), "Against one process")
    assert [(r["processes × threads"], r["global batch"], r["scaling"]) for r in rows] == [
        ("2 × 1", "64", "strong"),
        ("2 × 1", "256", "strong"),
        ("4 × 1", "64", "strong"),
        ("4 × 1", "256", "strong"),
        ("4 × 1", "256", "weak"),
    ]
    assert rows[-1]["one process"] == "1 × 1, 64"
    assert rows[0]["× steps"] == "1.00 (1.00–1.00)"
    for row in rows:
        ratio = float(row["× samples/s"].split()[0])
        processes = int(row["processes × threads"][0])
        assert float(row["efficiency %"]) == pytest.approx(100 * ratio / processes, abs=1)
        low, high = row["= step time"].split("(")[1].rstrip(")").split("–")
        assert 0 < float(low) < float(high) < 2


def test_efficiency_is_for_as_many_threads():
    (row,) = table(
        text_of(make_sweep(processes=(1, 2), batches=(64,), threads=lambda n: 2 // n)),
        "Against one process",
    )
    ratio = float(row["× samples/s"].split()[0])
    assert float(row["efficiency %"]) == pytest.approx(100 * ratio, abs=1)


def bounds(cell):
    """A cell's figure and the ends of its interval."""
    figure, interval = cell.replace(",", "").rstrip(")").split(" (")
    return float(figure), *map(float, interval.split("–"))


def test_predictions_have_intervals_and_go_up_to_1024_processes():
    records = make_sweep(batches=(64, 128, 256))
    rows = table(text_of(records), "Predicted")
    assert [row["processes"] for row in rows[:7]] == ["1", "2", "4", "8", "16", "32", "64"]
    for row in rows:
        for name, most in (("samples/s", 2), ("s to 97 %", 20)):
            figure, low, high = bounds(row[name])
            assert low <= figure <= high < most * low
    assert rows[7]["scaling"] == "weak, 64"
    large = [
        r.model_copy(update={"dataset": r.dataset.model_copy(update={"num_train": 10**9})})
        for r in records
    ]
    assert table(text_of(large), "Predicted")[-1]["processes"] == "1,024"


def test_what_was_held_out_stands_beside_its_prediction(sweep):
    text = text_of(sweep, fit_on=(1, 2))
    rows = table(text, "Held out")
    assert [row["processes × threads"] for row in rows] == ["4 × 1", "4 × 1"]
    assert all(abs(int(row["error %"])) <= 5 for row in rows)
    assert "checked: fitted on 1, 2 processes" in text
    assert "Held out" not in text_of(make_sweep(cores=64))


def test_links_have_a_column_where_they_differ(sweep):
    assert "link" not in table(text_of(sweep), "Measured")[0]
    slow = Link(latency_s=1e-3, bandwidth_bytes_per_s=1.25e7)
    records = [*make_sweep(processes=(1, 2)), *make_sweep(processes=(2,), link=slow)]
    rows = table(text_of(records), "Measured")
    fast, slowed = "0.05 ms, 2,000 MB/s", "1 ms, 12.5 MB/s"
    assert [row["link"] for row in rows] == ["–", "–", fast, slowed, fast, slowed]


def test_json_holds_every_row_in_full(sweep):
    (report,) = json.loads(text_of(sweep, table_format="json", fit_on=(1, 2)))
    assert report["configuration"] == "simple-cnn on mnist"
    assert report["target_accuracy"] == 0.97
    assert [len(report[name]) for name in ("measured", "gains", "held_out")] == [6, 5, 2]
    row = next(r for r in report["gains"] if r["scaling"] == "weak")
    assert row["efficiency"] == row["speed"]["value"] / 4
    assert row["time_efficiency"] == row["time"]["value"] / 4
    product = row["hardware"]["value"] * row["steps"]["value"]
    assert row["time"]["value"] == pytest.approx(product, rel=0.05)
    measured = report["measured"][2]
    assert measured["samples_per_s"]["n"] == measured["steps"]["reached"] == 5
    split = measured["split"]
    parts = split["compute_s"] + split["communication_s"] + split["wait_s"]
    assert parts == pytest.approx(measured["step_s"])
    assert measured["link"] == LINK.model_dump()
    assert report["model"]["fixed_s"] == pytest.approx(2e-3, rel=0.15)
    assert report["model"]["noise_batch"] == pytest.approx(500, rel=0.5)
    first = report["predicted"][0]
    assert (first["efficiency"], first["num_processes"], first["in_time"]) == (1, 1, True)
    speed = first["samples_per_s"]
    assert 0.8 * speed["value"] < speed["low"] < speed["value"] < speed["high"]
    assert first["compute_s"] + first["communication_s"] + first["wait_s"] == first["step_s"]
    assert [abs(r["speed_error"]) < 0.1 for r in report["held_out"]] == [True, True]
    assert {r["held_out_by"] for r in report["held_out"]} == {"processes"}
    assert len(report["verdicts"]) == 3
    assert report["check"].startswith("checked: ")


def test_csv_names_the_table_of_each_row(sweep):
    rows = list(csv.DictReader(io.StringIO(text_of(sweep, table_format="csv", fit_on=(1, 2)))))
    assert list(dict.fromkeys(r["table"] for r in rows)) == [
        "measured",
        "gains",
        "held_out",
        "predicted",
    ]
    assert float(rows[0]["samples_per_s_mean"]) > 1000
    assert rows[0]["speed_value"] == ""
    assert float(rows[6]["speed_value"]) > 0


def test_several_configurations_are_named(sweep):
    text = text_of([*sweep, *make_sweep(config={"lr": 0.5})])
    assert text.startswith("simple-cnn on mnist, lr 0.01\n\nstrong, batch 64: ")
    assert "\n\nsimple-cnn on mnist, lr 0.5\n\nstrong, batch 64: " in text


def test_markdown_keeps_tables_and_lines_apart(sweep):
    text = text_of(sweep, table_format="markdown")
    assert "Measured:\n\n| processes × threads" in text
    assert text.startswith("strong, batch 64: ")
    assert "\n\nstrong, batch 256: " in text


def test_the_notes_tell_the_model_and_what_it_stands_on(sweep):
    said = notes(text_of(sweep))
    assert "the model: a process computes 1.9" in "\n".join(said)
    assert any("4 × 1 have more threads than cores" in line for line in said)
    assert any("steps to 97 %; batches measured up to 256" in line for line in said)
    assert any("1 thread on cores of its own, over 0.05 ms, 2,000 MB/s" in s for s in said)
    assert any(line.startswith("intervals (95 %) hold the spread between runs") for line in said)
    assert any("read no finer; use --eval-every-steps" in line for line in said)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (
            lambda: make_sweep(threads=lambda n: max(1, 2 // n)),
            "one process was not measured with as few threads, and is compared with more",
        ),
        (lambda: make_sweep(batches=(64,)), "steps to 97 % are known at batch 64 only"),
        (lambda: make_sweep(reached=False), "the model: 97 % was not reached"),
        (lambda: make_sweep(seeds=range(2)), "fewer than 5 seeds give no interval of a ratio"),
        (lambda: make_sweep(split=False), "a step's parts were not measured"),
        (lambda: make_sweep(seeds=[0]), "no intervals: no setup was run twice"),
        (make_sweep, "two say not how sure that is; sweep over a third"),
        (lambda: make_sweep(environment={"num_machines": 2}), "machines of a run are taken"),
        (
            lambda: [*make_sweep(), *make_sweep(processes=(1,), threads=2)],
            "not fitted, 1 × 2: other threads than the 1 of most processes",
        ),
        (
            lambda: make_sweep(processes=(1, 2), batches=(64,), threads=lambda n: 2 // n),
            "sweep with --num-threads 1 or a second --global-batch-size",
        ),
        (
            lambda: make_sweep(environment={"measured_alone": False}),
            "30 of 30 runs shared their cores: their times are left out",
        ),
        (
            lambda: [*make_sweep(), *make_sweep(seeds=[9], status="diverged")],
            "6 of 36 runs did not complete: they count to the target only",
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
                *make_sweep(processes=(1,), step_noise=0.0),
                *make_sweep(processes=(2,), step_noise=0.1),
            ],
            "seeds took other steps to 97 % on other processes, such as seed 0 at batch 64: ",
        ),
        (
            lambda: make_sweep(config={"exact_parity": True}),
            "exact_parity sends more than the all-reduce that is predicted",
        ),
        (
            lambda: [
                run
                for n in (1, 2)
                for run in make_sweep(
                    (n,),
                    (64 * n,),
                    config={"per_device_batch_size": 64, "lr_scaling": "linear"},
                    environment={"lr_peak": 0.01 * n},
                )
            ],
            "learning rate: linear in the number of processes: 0.01 at 1, 0.02 at 2",
        ),
    ],
)
def test_what_bounds_a_conclusion_is_said(records, says):
    assert any(says in line for line in notes(text_of(records())))


def test_times_of_a_machine_that_moved_are_marked():
    slow = CanaryReading(matmul_flops_per_s=1.0, copy_bytes_per_s=1.0)
    fast = CanaryReading(matmul_flops_per_s=2.0, copy_bytes_per_s=1.0)
    records = make_sweep(processes=(1, 2), batches=(64,))
    records[0] = records[0].model_copy(update={"canary": Canary(before=slow, after=fast)})
    text = text_of(records)
    assert [row["samples/s"][-1] == "†" for row in table(text, "Measured")] == [True, False]
    assert "† the machine's own speed moved" in text


def test_a_curve_without_an_end_and_a_call_without_cost_are_not_printed():
    """Steps in proportion to the batch have no noise batch, and a hidden exchange no call."""
    truth = replace(TRUTH, call_s=0.0, link_share=0.5)
    records = []
    for batch, steps in ((64, 2048), (128, 1024), (256, 512)):
        for run in make_sweep(batches=(batch,), truth=truth, noise=0.0, cores=64):
            points = [
                point.model_copy(update={"step": steps - 1 + place})
                for place, point in enumerate(run.eval_points)
            ]
            records.append(run.model_copy(update={"eval_points": points}))
    said = "\n".join(notes(text_of(records)))
    assert "the model: 130,997 / batch steps" in said  # half a step before 2,048 of 64 images
    assert "takes the link's time round a ring times 0.50" in said
    assert "∞" not in said
