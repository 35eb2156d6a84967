"""What Python calls: rows that print, pictures, verdicts, pages; one line for what is wrong."""

import json
import sys
from copy import copy
from html.parser import HTMLParser

import pytest

import mnistbench
from mnistbench import InputError, compare_records, load_records, plot, summary, write_page
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.reference_bands import packaged_references
from mnistbench.output.screen import Screen
from mnistbench.output.tables import render_runs
from mnistbench.schema.store import save_record
from tests.made_records import make_record


def of_loss(loss, *, n=6, better=0.0, **changes):
    config = make_record().config | {"loss": loss}
    return [
        make_record(
            seed, (0.9, 0.96 + better, 0.97 + better + seed / 1000), config=config, **changes
        )
        for seed in range(n)
    ]


@pytest.mark.parametrize("per_run", [False, True])
def test_a_summary_is_the_export_and_prints_as_the_table(per_run):
    records = of_loss("mse", recipe=None) + of_loss("cross-entropy", recipe=None)
    rows, options = summary(records, per_run=per_run), {"per_run": per_run}
    options |= {"references": packaged_references()}
    assert [*rows] == json.loads(render_runs(records, table_format="json", **options))
    table = render_runs(records, table_format="table", screen=Screen(80), **options)
    assert repr(rows) == str(rows) == table
    assert [*copy(rows)] == [*rows]
    assert len(rows) == (12 if per_run else 2)
    assert rows[-1]["loss"] == "cross-entropy"


class Cells(HTMLParser):
    """The texts in the cells of a table, and all elements."""

    def __init__(self, page):
        super().__init__()
        self.cells, self.tags = [], set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.inside = tag in {"td", "th"}
        assert not attrs

    def handle_data(self, data):
        if self.inside and data.strip():
            self.cells.append(data.strip())


def test_a_notebook_shows_a_table_of_what_differs_in_which_nothing_is_obeyed():
    hostile = make_record().environment | {"device_type": "x", "device_name": "<script>&amp;"}
    records = [*of_loss("mse"), *of_loss("cross-entropy"), make_record(environment=hostile)]
    records[0].config["<b>key</b>"] = "a\x1bvalue"
    page = Cells(summary(records)._repr_html_())
    assert page.tags == {"p", "table", "thead", "tbody", "tr", "th", "td"}
    assert any("<script>&amp;" in cell for cell in page.cells)
    assert {"mse", "<b>key</b>", "a value"} <= {*page.cells}
    assert "batch" not in page.cells  # the same in all
    assert len(summary(records)._repr_html_()) < 4000
    assert "per_device" not in Cells(summary(records[0], per_run=True)._repr_html_()).cells


def test_a_figure_is_shown_and_written(tmp_path):
    figure = plot(of_loss("mse"), tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
    assert figure._repr_png_().startswith(b"\x89PNG")
    told = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"test accuracy (%)", "training loss"} <= told


def test_verdicts_are_rows_that_print_as_the_comparison():
    a, b = of_loss("mse"), of_loss("cross-entropy", better=0.02)
    verdicts = compare_records(a, b, metrics=["test_accuracy", "steps_to_accuracy"])
    row = verdicts[0]
    assert (row["metric"], row["verdict"], row["a"]["n"]) == ("test_accuracy", "higher", 6)
    assert row["change"] == pytest.approx(0.02)
    (sentence,) = verdicts.headlines
    assert "higher" in sentence
    told = " ".join(str(verdicts).split())
    assert all(text in told for text in (sentence, *verdicts.notes))
    defaults = [row["metric"] for row in compare_records(a, b)]
    assert defaults == ["samples_per_s", "time_to_accuracy_s", "test_accuracy"]
    (timed,) = compare_records(a, b, metrics=["steps_to_accuracy"], target_accuracy=0.99)
    assert (timed["target_accuracy"], timed["a"]["reached"]) == (0.99, 0)


def test_rows_become_data_frames(monkeypatch):
    pytest.importorskip("pandas")
    a, b = of_loss("mse"), of_loss("cross-entropy", better=0.02)
    assert summary(a + b).to_pandas()["loss"].tolist() == ["mse", "cross-entropy"]
    frame = compare_records(a, b, metrics=["test_accuracy"]).to_pandas()
    assert frame.loc[0, "b_value"] - frame.loc[0, "a_value"] == pytest.approx(0.02)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="to_pandas: pandas is not installed"):
        summary(a).to_pandas()


def test_records_are_read_and_what_cannot_be_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for record in of_loss("mse", n=2):
        save_record(record, tmp_path / "runs" / record.run_id)
    assert [record.seed for record in load_records()] == [0, 1]
    assert len(load_records("runs", tmp_path / "runs" / "run-simple-cnn-1" / "record.json")) == 2
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "record.json").write_text("{")
    with pytest.warns(UserWarning, match="1 of 3 records could not be read"):
        assert len(load_records("runs")) == 2
    with pytest.raises(InputError, match=r"bad/record\.json: not a record"):
        load_records("runs", strict=True)


def test_a_page_is_written_and_its_path_given(tmp_path):
    path = write_page(of_loss("mse", n=1), str(tmp_path / "page.html"))
    assert path == tmp_path / "page.html"
    text = path.read_text()
    assert f"UTC by mnistbench {mnistbench.__version__}." in text


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda runs: summary([]), "summary: there is no record"),
        (lambda runs: plot([]), "plot: there is no record"),
        (
            lambda runs: plot([runs[0].model_copy(update={"eval_points": []})]),
            "no run with an eval",
        ),
        (lambda runs: plot(runs, "curves.gif"), "curves.gif: a plot is .png or .svg"),
        (lambda runs: write_page(runs, "page.txt"), "page.txt: a page is .html"),
        (lambda runs: compare_records(runs, []), "compare_records: there is no record"),
        (
            lambda runs: compare_records(runs, runs, metrics=["speed"]),
            "metrics: unknown metric 'speed'; did you mean samples_per_s?",
        ),
        (lambda runs: compare_records(runs, runs, metrics="x"), "unknown metric 'x'; use one of"),
        (lambda runs: summary("runs"), "summary: takes records, not str; load_records reads"),
        (lambda runs: plot([*runs, 3]), "plot: takes records, not int"),
        (
            lambda runs: compare_records(runs, runs, target_accuracy=97),
            "fraction in (0, 1], not 97",
        ),
        (lambda runs: load_records("nowhere"), "nowhere: does not exist"),
    ],
)
def test_what_is_wrong_is_one_line(call, says):
    with pytest.raises(InputError) as error:
        call([make_record()])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_every_metric_can_be_asked_for():
    rows = compare_records(of_loss("mse"), of_loss("mse"), metrics=tuple(METRICS))
    assert [row["metric"] for row in rows] == list(METRICS)
