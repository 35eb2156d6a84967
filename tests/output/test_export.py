"""Rows of plain values: the same columns whatever the data, CSV and JSON alike, and documented."""

import csv
import io
import json
import re

import pytest

from mnistbench.analysis.metrics import METRICS
from mnistbench.output.export import IDENTITY, export_rows
from mnistbench.output.tables import render_epochs, render_rules, render_runs, render_targets
from mnistbench.schema.record import Result, Throughput
from tests.documented import ROOT
from tests.made_records import make_record, profiled

PAGE = (ROOT / "docs" / "exports.md").read_text()


def both(render, *arguments, **options):
    """The rows of an export as JSON has them, if CSV has the same."""
    rows = json.loads(render(*arguments, table_format="json", **options))
    texts = list(csv.DictReader(io.StringIO(render(*arguments, table_format="csv", **options))))
    assert [*map(cell_texts, rows)] == texts
    return rows


def cell_texts(row):
    def text(value):
        if isinstance(value, list):
            return " ".join(map(str, value))
        return "" if value is None else str(value)

    return {name: text(value) for name, value in row.items()}


def sweep(**settings):
    """Runs over 2 losses, 2 rates and 2 seeds, with other settings for the second loss."""
    made = make_record()
    return [
        make_record(
            seed,
            recipe=None,
            run_id=f"{loss}-{lr}-{seed}",
            config=made.config | {"loss": loss, "lr": lr} | (settings if loss == "mse" else {}),
        )
        for loss in ("cross-entropy", "mse")
        for lr in (0.1, 0.2)
        for seed in range(2)
    ]


def test_columns_are_the_same_whatever_the_records_hold():
    bare = make_record(
        *(7, (0.1,)),
        recipe=None,
        dataset=None,
        throughput=Throughput(),
        result=Result(),
        config={"eval_split": "test"},
        environment={},
        status="failed",
    )
    usual = list(export_rows([[make_record()]])[0])
    for records in ([bare], [profiled(make_record())], [make_record(target=None)], sweep()):
        (first, *_) = both(render_runs, records)
        assert list(first) == usual
    assert usual[: len(IDENTITY)] == list(IDENTITY)
    (row,) = both(render_runs, [bare])
    unknown = ("recipe", "lr", "commit", "dataset", "samples_per_s", "time_to_accuracy_s")
    assert [row[name] for name in unknown] == [None] * 6
    assert (row["samples_per_s_n"], row["time_to_accuracy_s_n"], row["status"]) == (0, 0, "failed")


def test_a_row_holds_what_varied_and_only_settings_that_are_read():
    changes = {"optimizer": "adam", "batch_norm": True, "max_steps": 9, "beta1": 0.8, "mllog": True}
    rows = both(render_runs, sweep(**changes))
    settings = [(row["loss"], row["lr"], row["optimizer"], row["momentum"]) for row in rows]
    assert settings == [
        *[("cross-entropy", lr, "sgd", 0.5) for lr in (0.1, 0.2)],
        *[("mse", lr, "adam", None) for lr in (0.1, 0.2)],
    ]
    names = list(rows[0])
    varying = names[len(IDENTITY) : names.index("target_accuracy")]
    # sgd has no beta1, batch_norm is of a model that is not trained here, mllog changes nothing
    assert varying == ["max_steps"]
    assert [row["max_steps"] for row in rows] == [None, None, 9, 9]
    adam = make_record().config | {"optimizer": "adam"}
    betas = [make_record(config=adam | {"beta1": beta}) for beta in (0.8, 0.9)]
    rows = both(render_runs, [*betas, make_record()])
    assert [row["beta1"] for row in rows] == [0.8, 0.9, None]


def test_versions_and_data_tell_rows_apart_where_nothing_else_does():
    made = make_record()
    versions = [{"versions": {"torch": version}} for version in ("2.11", "2.12")]
    rows = both(render_runs, [make_record(environment=made.environment | v) for v in versions])
    assert [row["torch"] for row in rows] == ["2.11", "2.12"]
    data = [made.dataset.model_copy(update={"sha256": sha}) for sha in ("a", "b")]
    rows = both(render_runs, [make_record(dataset=one) for one in data])
    assert [row["data_sha256"] for row in rows] == ["a", "b"]


def test_a_row_is_a_run_or_a_group_with_its_seeds():
    rows = both(render_runs, sweep(), per_run=True)
    assert [(row["run_id"], row["seed"]) for row in rows[:2]] == [
        ("cross-entropy-0.1-0", 0),
        ("cross-entropy-0.1-1", 1),
    ]
    assert "seeds" not in rows[0]
    groups = both(render_runs, sweep())
    assert (groups[0]["seeds"], groups[0]["run_ids"]) == (
        [0, 1],
        ["cross-entropy-0.1-0", "cross-entropy-0.1-1"],
    )
    assert len(rows) == 8
    assert [row["n"] for row in groups] == [2] * 4
    assert {*rows[0]} - {"run_id", "seed"} == {*groups[0]} - {"run_ids", "seeds"}


def test_other_views_begin_with_the_same_columns():
    records = sweep()
    for render, arguments, key in (
        (render_targets, [[0.9, 0.95]], "target_accuracy"),
        (render_rules, [[0.9, 0.95]], "rule"),
        (render_epochs, [], "epoch"),
    ):
        rows = both(render, records, *arguments)
        assert all(list(row)[: len(IDENTITY)] == list(IDENTITY) for row in rows)
        assert len({(row["loss"], row["lr"], row[key]) for row in rows}) >= 8
    assert list(both(render_targets, records, [0.9])[0]) == list(both(render_runs, records)[0])


def test_a_setting_that_is_no_plain_value_is_json_text():
    kernels = [{"size": 3}, {"size": 5}]
    records = [make_record(config=make_record().config | {"kernel": k}) for k in kernels]
    assert [row["kernel"] for row in both(render_runs, records)] == ['{"size": 3}', '{"size": 5}']


def test_the_page_names_every_column_and_no_other():
    told = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert [name for name, _ in told[: len(IDENTITY)]] == list(IDENTITY)
    metrics = [
        (name, metric.estimator, metric.spread, f"{metric.independent}s")
        for name, metric in METRICS.items()
        if name != "duration_s"
    ]
    after = told[len(IDENTITY) :][: len(metrics)]
    assert [(name, *text.split(" | ")[1:]) for name, text in after] == metrics
    (row,) = both(render_runs, [make_record()])
    ends = ("", "_low", "_high", "_n")
    known = {*IDENTITY, "target_accuracy"} | {f"{m[0]}{end}" for m in metrics for end in ends}
    known |= {
        f"{name}{end}"
        for name, metric in METRICS.items()
        for end in ("_reached", "_above", "_at_most")
        if metric.to_target
    }
    others = [name for name in row if name not in known]
    rest = {name for name, _ in told[len(IDENTITY) + len(metrics) :]}
    assert {name for name in others if not re.search("_(low|high)$", name)} == rest
    for render, arguments in ((render_rules, [[0.9]]), (render_epochs, [])):
        for name in both(render, [make_record()], *arguments)[0]:
            assert f"`{name}`" in PAGE


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_libraries_read_numbers_as_numbers(library, tmp_path):
    frames = pytest.importorskip(library)
    (tmp_path / "rows.csv").write_text(render_runs(sweep(), table_format="csv"))
    how = {"infer_schema_length": None} if library == "polars" else {}
    rows = frames.read_csv(tmp_path / "rows.csv", **how)
    assert rows["lr"].to_list() == [0.1, 0.2] * 2
    assert rows["test_accuracy"].to_list() == [0.98] * 4
    assert rows["seeds"].to_list() == ["0 1"] * 4
