"""Scaling reports as a user reads them, and as data in full precision."""

import csv
import io
import json

import pytest

from mnistbench.analysis.scaling.study import study_scaling
from mnistbench.analysis.scaling.table import render_scaling
from mnistbench.schema.record import Canary, CanaryReading, Link
from tests.analysis.scaling.made_sweep import LINK, make_sweep
from tests.analysis.table_text import cells

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture(scope="module")
def sweep():
    return make_sweep()


def text_of(records, *, table_format="table", **options):
    return render_scaling(study_scaling(records, **options), table_format=table_format)


def table(text, title):
    """The rows of the table below `title`."""
    return cells(text.split(f"{title}:\n\n")[1].split("\n\n")[0])


def notes(text):
    return text.split("\n\n")[-1].splitlines()


def test_each_setup_is_a_row_with_its_gains_and_their_factors(sweep):
    rows = table(text_of(sweep), "Measured")
    assert [(r["processes × threads"], r["global batch"], r["scaling"]) for r in rows] == [
        ("1 × 1", "64", "–"),
        ("1 × 1", "256", "–"),
        ("2 × 1", "64", "strong"),
        ("2 × 1", "256", "strong"),
        ("4 × 1", "64", "strong"),
        ("4 × 1", "256", "strong"),
        ("4 × 1", "256", "weak"),
    ]
    assert rows[0]["× samples/s"] == rows[0]["efficiency %"] == "–"
    assert rows[2]["× samples/s"].startswith("1.2")
    assert rows[2]["× steps"] == "1.00"
    assert "±" in rows[0]["samples/s"]


def test_a_step_is_split_where_it_was_measured(sweep):
    rows = table(text_of(sweep), "A step")
    assert [row["slowest process"] for row in rows] == ["–", "–", "1", "1", "3", "3"]
    assert all(row["communication"] not in {"0", "–"} for row in rows[2:])
    unsplit = table(text_of(make_sweep(split=False)), "A step")
    assert {row["compute"] for row in unsplit} == {"–"}
    assert {row["step ms (mean)"] for row in unsplit}.isdisjoint({"–"})


def test_predictions_have_intervals_and_go_up_to_1024_processes(sweep):
    rows = table(text_of(sweep), "Predicted")
    assert [row["processes"] for row in rows[:7]] == ["1", "2", "4", "8", "16", "32", "64"]
    assert all("–" in row["samples/s"] and "–" in row["s to 97 %"] for row in rows)
    assert rows[7]["scaling"] == "weak, 64"
    large = [
        r.model_copy(update={"dataset": r.dataset.model_copy(update={"num_train": 10**9})})
        for r in sweep
    ]
    assert table(text_of(large), "Predicted")[-1]["processes"] == "1,024"


def test_what_was_held_out_stands_beside_its_prediction(sweep):
    text = text_of(sweep, fit_on=[1, 2])
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
    assert [row["link"] for row in rows[::2]] == ["–", "0.05 ms, 2,000 MB/s", "0.05 ms, 2,000 MB/s"]
    assert rows[3]["link"] == "1 ms, 12.5 MB/s"


def test_json_holds_every_row_in_full(sweep):
    (report,) = json.loads(text_of(sweep, table_format="json", fit_on=[1, 2]))
    assert report["configuration"] == "simple-cnn on mnist"
    assert report["target_accuracy"] == 0.97
    assert len(report["measured"]) == 7
    row = next(r for r in report["measured"] if r["scaling"] == "weak")
    assert row["efficiency"] == row["speed_up"] / 4
    assert row["time_efficiency"] == row["time_speed_up"] / 4
    product = row["hardware_factor"] * row["statistical_factor"]
    assert row["time_speed_up"] == pytest.approx(product, rel=0.05)
    assert report["model"]["compute_fixed_s"] == pytest.approx(2e-3, rel=0.1)
    assert report["model"]["noise_batch"] == pytest.approx(500, rel=0.5)
    first = report["predicted"][0]
    assert first["efficiency"] == 1
    assert first["samples_per_s_low"] < first["samples_per_s"] < first["samples_per_s_high"]
    assert first["compute_s"] + first["communication_s"] + first["wait_s"] == first["step_s"]
    assert {abs(r["samples_per_s_error"]) < 0.05 for r in report["held_out"]} == {True}
    assert report["verdicts"]
    assert report["check"]


def test_csv_names_the_table_of_each_row(sweep):
    rows = list(csv.DictReader(io.StringIO(text_of(sweep, table_format="csv", fit_on=[1, 2]))))
    assert {row["table"] for row in rows} == {"measured", "predicted", "held_out"}
    assert float(rows[0]["samples_per_s"]) > 1000
    assert rows[0]["speed_up"] == ""


def test_several_configurations_are_named(sweep):
    text = text_of([*sweep, *make_sweep(config={"lr": 0.5})])
    assert text.startswith("simple-cnn on mnist, lr 0.01\n\nMeasured:")
    assert "\n\nsimple-cnn on mnist, lr 0.5\n\nMeasured:" in text


def test_markdown_keeps_tables_and_lines_apart(sweep):
    text = text_of(sweep, table_format="markdown")
    assert "Measured:\n\n| processes × threads" in text
    assert "\n\nstrong, batch 64: " in text
    assert "\n\nstrong, batch 256: " in text


def test_the_notes_tell_the_model_and_what_it_stands_on(sweep):
    said = notes(text_of(sweep))
    assert "the model: a process computes 1.9" in "\n".join(said)
    assert any("steps to 97 %; batches measured up to 256" in line for line in said)
    assert any(
        "1 thread on cores of its own, over a link of 0.05 ms, 2,000 MB/s" in s for s in said
    )
    assert any(line.startswith("intervals (95 %) hold the spread between runs") for line in said)
    assert any("read no finer; use --eval-every-steps" in line for line in said)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (
            lambda: make_sweep(threads=lambda n: max(1, 2 // n)),
            "one process was not measured with as few threads: it is compared with more",
        ),
        (lambda: make_sweep(batches=(64,)), "steps to 97 % are known at batch 64 only"),
        (lambda: make_sweep(reached=False), "the model: 97 % was not reached"),
        (lambda: make_sweep(seeds=range(2)), "fewer than 5 seeds give no interval of a ratio"),
        (lambda: make_sweep(split=False), "a step's parts were not measured"),
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
            "runs took other steps to 97 % on other processes, such as seed 0 at batch 64: ",
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


def test_a_fitted_link_is_told_as_such():
    records = [run.model_copy(update={"link": None}) for run in make_sweep(cores=64)]
    text = text_of(records)
    assert "as fitted, round a ring" in text
    assert table(text, "Predicted")
    assert str(LINK.latency_s) not in text
