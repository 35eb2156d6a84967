"""The door to reports, on records that real runs left."""

import csv
import io
import json

import pytest

from mnistbench import report as door
from mnistbench.engine.trainer import train


@pytest.fixture
def runs(small_config, tmp_path):
    train(small_config(num_seeds=2, num_epochs=2, target_accuracy=0.05))
    train(small_config(loss="mse"))
    return tmp_path / "runs"


def test_records_become_rows_in_every_format(runs, capsys):
    assert door.main([str(runs)]) == 0
    table = capsys.readouterr().out
    assert "simple-cnn, mse" in table
    assert "n = " not in table
    assert "±" in table
    door.main([str(runs), "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["n"] for row in rows) == [1, 2]
    assert next(row for row in rows if row["n"] == 2)["time_to_accuracy_s"]["of"] == 2
    door.main([str(runs), "--format", "csv"])
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 2
    door.main([str(runs), "--format", "markdown", "--per-run"])
    markdown = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| simple-cnn") for line in markdown) == 3


def test_one_record_by_its_path_and_a_picture(runs, tmp_path, capsys):
    path = next(runs.glob("*/record.json"))
    assert door.main([str(path), "--plot", str(tmp_path / "curve.svg")]) == 0
    assert "simple-cnn" in capsys.readouterr().out
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")


def test_without_a_path_it_reads_the_folder_runs(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert door.main([]) == 0
    assert "simple-cnn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["missing"], "missing: does not exist"),
        (["."], "no record.json"),
        ([], "runs: does not exist"),
        (["bad.json"], "bad.json: not a record"),
        ([".", "--format", "pdf"], "pdf"),
        (["--plot"], "--plot"),
    ],
)
def test_bad_input_is_one_line(argv, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SystemExit) as stop:
        door.main(argv)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.startswith("mnistbench: error: ")
    assert says in err
    assert err.count("\n") == 1


def test_a_plot_that_cannot_be_made_prints_no_table(runs, tmp_path, capsys):
    with pytest.raises(SystemExit):
        door.main([str(runs), "--plot", str(tmp_path / "curve.gif")])
    out, err = capsys.readouterr()
    assert out == ""
    assert ".png or .svg" in err
