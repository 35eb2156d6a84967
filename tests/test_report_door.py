"""The door to reports, on records that real runs left."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import make_references
from mnistbench import report as door
from mnistbench.analysis.reference_bands import packaged_references
from mnistbench.engine.run_seeds import train
from mnistbench.schema.record import RecipeInfo
from mnistbench.schema.store import save_record
from tests.made_records import make_record, of_reference


@pytest.fixture(autouse=True)
def _in_a_wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.fixture
def runs(small_config, tmp_path):
    train(small_config(num_seeds=2, num_epochs=2, target_accuracy=0.05))
    train(small_config(loss="mse"))
    return tmp_path / "runs"


def test_records_become_rows_in_every_format(runs, capsys):
    assert door.main([str(runs)]) == 0
    table = capsys.readouterr().out
    assert table.startswith("all rows: model simple-cnn, ")
    assert "\nmse " in table
    assert "n = " not in table
    assert "±" in table
    door.main([str(runs), "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["n"] for row in rows) == [1, 2]
    assert next(row for row in rows if row["n"] == 2)["time_to_accuracy_s_n"] == 2
    door.main([str(runs), "--format", "csv"])
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 2
    door.main([str(runs), "--format", "markdown", "--per-run"])
    markdown = capsys.readouterr().out.splitlines()
    assert sum("| simple-cnn" in line for line in markdown) == 3
    assert markdown[0].startswith("| run ")


def test_one_record_by_its_path_and_a_picture(runs, tmp_path, capsys):
    path = next(runs.glob("*/record.json"))
    assert door.main([str(path), "--plot", str(tmp_path / "curve.svg")]) == 0
    assert "simple-cnn" in capsys.readouterr().out
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")


def test_stored_curves_are_scored_at_other_targets_and_by_other_rules(runs, capsys):
    door.main(["targets", str(runs), "--targets", "0.01,1.0", "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    reached = {
        (row["n"], row["target_accuracy"]): row["time_to_accuracy_s_reached"] for row in rows
    }
    assert reached == {(2, 0.01): 2, (2, 1.0): 0, (1, 0.01): 1, (1, 1.0): 0}
    door.main(["rules", str(runs), "--targets", "0.01", "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    scores = {row["rule"]: row for row in rows if len(row["seeds"]) == 1}
    assert scores["DAWNBench"]["rule_time_s"] > scores["mnistbench"]["rule_time_s"] > 0
    assert "issues 9, 12 and 21" in scores["DAWNBench"]["rule_source"]
    door.main(["rules", str(runs)])  # at the target of the runs that have one
    assert capsys.readouterr().out.count("MLPerf Training") == 2  # its row, and where it stands


def test_runs_are_held_to_the_references_that_were_made_of_others(
    small_config, tmp_path, monkeypatch, capsys
):
    (record,) = train(small_config())
    recipe = RecipeInfo(name="simple-cnn", source="a page")
    for seed, accuracy in enumerate((0.80, 0.81, 0.82, 0.83, 0.84, 0.2)):
        points = [replace(p, accuracy=accuracy) for p in record.eval_points]
        changes = {"eval_points": points, "seed": seed, "recipe": recipe, "run_id": f"run-{seed}"}
        save_record(
            record.model_copy(update=changes),
            tmp_path / ("honest" if accuracy > 0.5 else "wrong") / f"{seed}",
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(make_references, "FOLDER", tmp_path / "bands")
    assert make_references.main(["honest"]) == 0
    path = tmp_path / "bands" / "simple-cnn-synthetic.json"
    assert capsys.readouterr().out == f"{path}: 1 evaluations of 5 seeds\n"
    assert json.loads(path.read_text())["made_by"] == "python -m bench.make_references honest"
    references = ["--references", str(path.parent)]
    door.main(["wrong", *references])
    assert "left at epoch 1 (20.00 %, band " in capsys.readouterr().out
    door.main(["honest", *references, "--format", "json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["reference_checked"], row["reference_left"], row["reference_seeds"]) == (5, 0, [])
    path.write_text("{")
    with pytest.raises(SystemExit):
        door.main(["honest", *references])
    assert "simple-cnn-synthetic.json: not a reference curve" in capsys.readouterr().err


def test_from_any_folder_recipes_are_held_to_the_references_of_the_package(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for reference in packaged_references():
        save_record(of_reference(reference), tmp_path / "runs" / reference.recipe)
    door.main(["--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert {row["recipe"]: row["reference_left"] for row in rows} == dict.fromkeys(
        ("cnn4-ce", "cnn4-mse", "dnn4-ce", "dnn4-mse", "dnn5-ce", "fast-cnn", "simple-cnn"), 0
    )
    save_record(of_reference(packaged_references()[-1], off=-0.1), tmp_path / "wrong")
    door.main(["wrong", "--html", "page.html"])
    assert "left at epoch 1 (86.62 %, band 94.23–98.06)" in capsys.readouterr().out
    assert "left at epoch 1 (86.62 %, band 94.23–98.06)" in (tmp_path / "page.html").read_text()


def test_one_line_names_the_recipes_that_have_no_reference(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    other = RecipeInfo(name="simple-cnn", source="a page", changed=["lr"])
    records = [
        *(of_reference(packaged_references()[-1]), make_record(1), make_record(2)),
        *(make_record(3, name="example-cnn"), make_record(4, recipe=None)),
        make_record(5, target=0.5, recipe=other),
    ]
    for record in records:
        save_record(record, tmp_path / "runs" / f"{record.seed}")
    line = (
        "not held to a reference band: simple-cnn on mnist (its band is for other data, settings "
        "or evaluations), example-cnn on mnist (there is none), simple-cnn* on mnist (its values "
        "were changed)"
    )
    door.main(["--html", "page.html"])
    assert capsys.readouterr().out.splitlines().count(line) == 1
    assert line in (tmp_path / "page.html").read_text()
    door.main(["runs/0"])
    assert "not held" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "usage: python -m bench.make_references RECORDS..."),
        (["missing"], "missing: does not exist"),
        (["runs"], "no run of an unchanged recipe"),
    ],
)
def test_records_that_make_no_reference_are_one_line(
    runs, argv, says, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        make_references.main(argv)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


@pytest.fixture
def mixed(tmp_path):
    """A folder of three records and one that is cut off."""
    for seed in range(3):
        save_record(make_record(seed), tmp_path / "mixed" / f"{seed}")
    (tmp_path / "mixed" / "broken").mkdir()
    (tmp_path / "mixed" / "broken" / "record.json").write_text('{"schema_version": 1, "\x1b": ')
    return tmp_path / "mixed"


LEFT_OUT = "1 of 4 records could not be read and is left out: "


@pytest.mark.parametrize(
    "flags", [[], ["--format", "markdown"], ["epochs"], ["rules"], ["targets"]]
)
def test_one_bad_record_is_named_below_the_table_of_the_others(mixed, flags, capsys):
    assert door.main([*flags, str(mixed)]) == 0
    out, err = capsys.readouterr()
    last = out.splitlines()[-1]
    assert last.startswith(f"{LEFT_OUT}{mixed}/broken/record.json: not a record: ")
    assert err == ""
    assert "\x1b" not in out


@pytest.mark.parametrize("table_format", ["csv", "json"])
def test_data_stay_pure_where_a_record_is_left_out(mixed, table_format, capsys):
    assert door.main([str(mixed), "--format", table_format]) == 0
    out, err = capsys.readouterr()
    assert "could not be read" not in out
    assert err.startswith(f"mnistbench: {LEFT_OUT}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("argv", [["--strict"], ["broken"], ["broken/record.json"]])
def test_strictly_or_alone_it_is_an_error_in_one_line(mixed, argv, capsys):
    argv = [str(mixed), *argv] if argv == ["--strict"] else [str(mixed / argv[0])]
    with pytest.raises(SystemExit) as stop:
        door.main(argv)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.startswith(f"mnistbench: error: {mixed}/broken/record.json: not a record: ")
    assert err.count("\n") == 1


def test_the_page_says_what_is_left_out(mixed, capsys):
    door.main([str(mixed), "--html", str(mixed / "page.html")])
    assert LEFT_OUT in (mixed / "page.html").read_text()


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
        (
            ["--targets", "97"],
            "--targets: should be less than or equal to 1 (got 97); use a fraction: 0.97",
        ),
        (["targets", "--targets", "nan"], "--targets: should be a finite number"),
        (["--rules", "--by-epoch"], "--by-epoch: cannot go with --rules; leave one out"),
        (["--per-run", "--targets", "0.9"], "--per-run: is a flag of `mnistbench report`"),
        (["rules", "--references", "nowhere"], "--references: is a flag of `mnistbench report`"),
        (["epochs", "--format", "cvs"], "--format: unknown name 'cvs'; did you mean csv?"),
        (["--plot", "curve.gif"], "--plot: curve.gif should end in .png or .svg"),
        (["--plot", "bad.json/curve.png"], "--plot: bad.json is not a folder"),
        (["--html", "page.txt"], "--html: page.txt should end in .html or .htm"),
        (["--figures", "bad.json/x"], "--figures: bad.json is not a folder"),
        (["./targets"], "targets: does not exist"),
        (["targts"], "targts: does not exist; did you mean targets?"),
        (["epochs", ".", "--targets", "0.9"], "--targets: is a flag of `mnistbench report targ"),
        (["targets", ".", "--targets"], "--targets: needs a value"),
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


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--references", "nowhere"], "references: no reference curve (.json) in nowhere"),
        (["rules"], "rules: no run has a target"),
    ],
)
def test_what_the_records_cannot_give_is_one_line(
    small_config, argv, says, tmp_path, monkeypatch, capsys
):
    train(small_config())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        door.main(argv)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_plot_that_cannot_be_made_prints_no_table(runs, tmp_path, capsys):
    with pytest.raises(SystemExit):
        door.main([str(runs), "--plot", str(tmp_path / "curve.gif")])
    out, err = capsys.readouterr()
    assert out == ""
    assert ".png or .svg" in err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--by-epoch"], ["epochs"]),
        (["--targets", "0.01", "0.5"], ["targets", "--targets", "0.01,0.5"]),
        (["--rules", "--targets=0.01"], ["rules", "--targets", "0.01"]),
    ],
)
def test_an_old_form_is_the_new_one_and_a_line_that_says_it(old, new, runs, capsys):
    name, *flags = new
    assert door.main([name, str(runs), *flags]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert door.main([str(runs), *old]) == 0
    again = capsys.readouterr()
    assert again.out == out
    flag = old[0].partition("=")[0]
    assert again.err == (
        f"mnistbench: {flag} is now `mnistbench report {name}`; the old form still works\n"
    )


def test_a_folder_with_the_name_of_a_report_is_reported_by_its_path(
    runs, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in ("targets", "runs"):
        if not Path(name).exists():
            Path(name).symlink_to(runs)
    assert door.main(["./targets"]) == 0
    summary, err = capsys.readouterr()
    assert err == ""
    assert door.main(["targets", "targets"]) == 0
    scores, err = capsys.readouterr()
    assert scores != summary
    assert err == ""
    assert door.main(["targets"]) == 0
    again, err = capsys.readouterr()
    assert again == scores
    assert err == "mnistbench: targets is a report here; for the folder, write ./targets\n"
