"""What is shown of records of other loops than ours: their names, metrics, targets and phases."""

import csv
import io
import json
import re

import pytest

from mnistbench.output.charts.curve_pictures import curve_pictures, curves_together
from mnistbench.output.charts.svg import svg_text
from mnistbench.output.export import export_rows
from mnistbench.output.page.page import render_page, save_pictures
from mnistbench.output.python_calls import compare_records, plot, summary
from mnistbench.output.screen import Screen
from mnistbench.output.selection_table import render_selection
from mnistbench.output.tables import (
    render_epochs,
    render_rules,
    render_runs,
    render_targets,
    summary_cells,
)
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import CodeInfo, Result, Target, Throughput
from tests.foreign_records import foreign_record
from tests.made_records import make_record
from tests.output.table_text import cells

ACCURACY = Target(metric="accuracy", value=0.9)
ODD = {"n": 3, "samples/s": 1, "batch": 2, "<b>&": "</td><script>x</script>", "run": "r"}


def language_models(n=3, **changes):
    return [foreign_record(seed, **changes) for seed in range(n)]


def rows_of(records, **options):
    return summary_cells(records, (), **options)[1]


def test_a_row_is_called_by_its_workload_and_has_what_was_evaluated():
    (row,) = rows_of(language_models())
    assert row["workload"] == "org/lm:small"
    assert row["val perplexity"] == "18 (18–18)"
    assert row["time to perplexity ≤ 20 s"].startswith("5.10")
    assert row["data wait %"] == "34"
    absent = {"val acc %", "test acc %", "loop", "precision", "dataset", "reference", "epochs"}
    assert absent.isdisjoint(row)


@pytest.mark.parametrize(
    ("made", "column", "text"),
    [
        ({"metric": "loss", "values": (3.0, 2.5)}, "val loss", "2.5"),
        ({"metric": "f1:macro", "values": (0.3, 0.5)}, "val f1:macro", "0.5"),
        ({"metric": "val/f1", "values": (0.3, 0.5)}, "val/f1", "0.5"),
        ({"metric": "accuracy", "values": (0.3, 0.5), "split": "dev"}, "dev accuracy %", "50.00"),
        ({"metric": "bleu", "values": (), "metrics": {"bleu": 31.5}}, "bleu", "31.5"),
    ],
)
def test_any_metric_has_a_column(made, column, text):
    (row,) = rows_of([foreign_record(**made)])
    assert row[column] == text


def test_settings_that_are_called_as_columns_are_kept_apart():
    records = [
        foreign_record(0, index=0, config=ODD),
        foreign_record(0, index=1, config=ODD | {"n": 4, "samples/s": 5, "batch": 9}),
    ]
    rows = rows_of(records)
    assert [row["config.n"] for row in rows] == ["3", "4"]
    assert [row["config.samples/s"] for row in rows] == ["1", "5"]
    assert [row["config.batch"] for row in rows] == ["2", "9"]
    assert [row["batch"] for row in rows] == ["32", "32"]
    exported = export_rows([[record] for record in records])
    assert [row["config.n"] for row in exported] == [3, 4]
    assert [row["n"] for row in exported] == [1, 1]


def test_runs_of_ours_and_others_are_shown_together_and_ours_keep_their_columns():
    alone = rows_of([make_record()])[0]
    rows = rows_of([make_record(), *language_models()])
    assert [row["workload"] for row in rows] == ["simple-cnn", "org/lm:small"]
    assert {*alone} - {"recipe", "time to 97 % s"} <= {*rows[0]}
    assert [row["target"] for row in rows] == ["97 %", "perplexity ≤ 20"]
    assert "data wait %" not in alone


def test_a_narrow_table_of_many_settings_names_loops_that_are_not_ours():
    config = make_record().config
    told = ("lr", "momentum", "weight_decay", "max_steps", "num_epochs", "val_size", "log_every")
    ours = [make_record(config=config | dict.fromkeys(told, n)) for n in (1, 2)]
    shown = render_runs([*ours, foreign_record()], table_format="table", screen=Screen(56))
    assert "org/lm:small" in shown


def test_a_configuration_with_a_key_run_keeps_the_names_of_runs():
    records = [foreign_record(0, index=n, config={"run": f"attempt {n}"}) for n in range(2)]
    rows = rows_of(records, per_run=True)
    assert [row["run"] for row in rows] == ["run-lm-0", "run-lm-1"]
    assert [row["config.run"] for row in rows] == ["attempt 0", "attempt 1"]


def test_a_run_that_failed_at_once_adds_no_second_column_and_waited_for_nothing():
    failed = foreign_record(0, (), metric="accuracy", status="failed", index=1, target=ACCURACY)
    accurate = foreign_record(0, (0.5, 0.92), metric="accuracy", result=Result(val_accuracy=0.92))
    row, _ = rows_of([accurate, failed], per_run=True)
    assert "val acc %" in row
    assert "val accuracy %" not in row
    assert "waits for data" not in render_runs([failed], table_format="table")


def test_a_run_without_a_seed_or_anything_else_is_a_row():
    bare = foreign_record(
        None, (), environment={}, phases_s={}, throughput=Throughput(), target=None, config={}
    )
    (row,) = rows_of([bare], per_run=True)
    assert row["seed"] == "–"
    assert "unknown" not in str(row)
    page = render_page([bare])
    assert ">None<" not in page
    assert summary([bare])[0]["target_metric"] is None
    with pytest.raises(InputError, match="no run with an evaluation to draw"):
        plot([bare])


def test_other_reports_score_what_there_is():
    models, accurate = language_models(), language_models(metric="accuracy", values=(0.5, 0.92))
    with pytest.raises(InputError, match="no run evaluated an accuracy"):
        render_targets(models, [0.9], table_format="table")
    both = cells(render_targets([*models, *accurate], [0.9], table_format="table"))
    assert both[0]["reached"] == "3 of 3"
    assert "org/lm" not in str(both[1:])
    rules = cells(render_rules(models, [], table_format="table"))
    assert {row["target"] for row in rules[:6]} == {"perplexity ≤ 20"}
    with pytest.raises(InputError, match="no run was evaluated after a whole epoch"):
        render_epochs(accurate, table_format="table")


def test_exports_keep_their_columns_and_add_metrics():
    usual = list(export_rows([[make_record()]])[0])
    (row,) = json.loads(render_runs(language_models(), table_format="json"))
    assert [name for name in row if not name.startswith("metrics.")] == usual
    assert (row["workload"], row["framework"]) == ("org/lm:small", "torch")
    assert (row["lr"], row["recipe"], row["model"]) == (0.1, None, None)
    assert [row[f"target_{name}"] for name in ("accuracy", "metric", "value")] == [
        *(None, "perplexity", 20.0)
    ]
    assert (row["metrics.perplexity"], row["metrics.perplexity_n"]) == (18.0, 3)
    assert row["time_to_accuracy_s"] == pytest.approx(5.1)
    text = render_runs(language_models(), table_format="csv")
    assert next(csv.DictReader(io.StringIO(text)))["metrics.perplexity"] == "18.0"


def test_curves_fall_to_their_target():
    groups = [language_models()]
    (picture,) = curve_pictures(groups, ["a/b:c"])
    assert picture.title == "Val perplexity by step"
    assert picture.panels[0].y.scale == "log"
    (target,) = [mark for mark in picture.panels[0].marks if mark.kind == "dashed"]
    assert set(target.ys) == {20.0}
    assert "The dashed line is the target: perplexity ≤ 20." in picture.caption
    assert "a/b:c: 18" in svg_text(picture)
    mixed = curves_together([*language_models(), make_record()])
    assert [panel.y.label for panel in mixed.panels] == [
        *("test accuracy (%)", "val perplexity", "training loss")
    ]
    assert {panel.x.label for panel in mixed.panels} == {"step"}
    assert len(mixed.keys) == 2


def test_a_page_says_how_rows_were_made_and_nothing_in_it_is_obeyed(tmp_path):
    phases = {"train": 3.0, "data_wait": 3.0, "upload: s3/x": 2.0, "eval": 1.0}
    script = CodeInfo(component="script", reference="train.py:__main__", sha256="ab" * 32)
    made = {"phases_s": phases, "code": [script]}
    records = [
        *language_models(config=ODD, **made),
        *language_models(config=ODD | {"<b>&": 1}, **made),
    ]
    page = render_page(records)
    assert "script: train.py:__main__" in page
    assert "mnistbench train" not in page
    assert "<script>x" not in page
    assert "waits for data: 50 % of training" in page
    assert "Time to target" in page
    assert "Lowest val perplexity" in page
    assert re.search(r"<th[^>]*>upload: s3/x s</th>", page)
    assert re.findall(r'class="part (p-[a-z0-9-]+ \w+)', page) == re.findall(
        r'class="part (p-[a-z0-9-]+ \w+)', render_page(records[::-1])
    )
    assert {path.stem for path in save_pictures(records, tmp_path)} >= {
        *("perplexity", "time-to-perplexity-20", "clock-ledger")
    }
    ours = render_page([make_record(), *records])
    assert "-m</span> <span>mnistbench.train" in ours
    assert "script: train.py:__main__" in ours


def test_comparisons_and_choices_are_of_any_metric():
    worse = [foreign_record(seed, (40.0, 30.0, 25.0 + seed), name="b") for seed in range(6)]
    better = [foreign_record(seed, (40.0, 25.0, 18.0 + seed / 10), name="b") for seed in range(6)]
    verdicts = compare_records(worse, better, metrics=["perplexity", "time_to_target_s"])
    assert verdicts[0]["metric"] == "perplexity"
    assert verdicts[0]["verdict"] == "lower"
    assert verdicts[1]["target"] == "perplexity ≤ 20"
    with pytest.raises(InputError, match=r"unknown metric 'perplexit'; did you mean perplexity"):
        compare_records(worse, better, metrics="perplexit")
    grid = [run.model_copy(update={"config": {"lr": 1}}) for run in worse]
    chosen = json.loads(
        render_selection([*grid, *better], metric="perplexity", table_format="json")
    )
    assert chosen["rows"][0]["lr"] == 0.1
    assert chosen["target_metric"] == "perplexity"


def test_metrics_whose_names_differ_in_marks_alone_have_files_of_their_own(tmp_path):
    both = [foreign_record(metric=name, name=name) for name in ("val/f1", "val:f1")]
    written = {path.name for path in save_pictures(both, tmp_path)}
    assert {"val-f1-1.png", "val-f1-2.png"} <= written
