"""The doors of comparisons, and of what is made of runs, to runs that were profiled."""

import json

import pytest

from bench import make_references
from mnistbench import compare, report
from mnistbench.schema.reference import load_reference
from mnistbench.schema.store import save_record
from tests.compare_runs import refused, store_pairs
from tests.made_records import make_record, profiled


def store(records, folder):
    for index, record in enumerate(records):
        save_record(record.model_copy(update={"run_id": f"run-{index}"}), folder / f"{index}")
    return str(folder)


@pytest.fixture
def sides(tmp_path, monkeypatch):
    """Folders a and b of eight runs each, and traced with three that were profiled."""
    monkeypatch.chdir(tmp_path)
    store_pairs(tmp_path)
    store([profiled(make_record(seed)) for seed in range(3)], tmp_path / "traced")
    return tmp_path


def test_a_side_of_profiled_runs_is_one_line(sides, capsys):
    out, err = refused(["a", "traced"], capsys)
    assert out == ""
    assert "compare: all 3 runs of B were profiled" in err
    _, err = refused(["traced/0/record.json", "b", "--force"], capsys)
    assert "compare: the run of A was profiled" in err


def test_profiled_runs_of_a_side_are_left_out_with_a_note(sides, capsys):
    (sides / "traced").rename(sides / "a" / "traced")
    assert compare.main(["a", "b", "--format", "json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert {row["a"]["n"] for row in table["rows"]} == {8}
    assert "3 of 11 runs of A were profiled and are left out: that costs time" in table["notes"]


def test_a_file_that_profiles_is_not_run_in_turn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", "lr: 0.5"), ("b", "profile: [torch]")):
        (tmp_path / f"{name}.yaml").write_text(f"{text}\n")
    _, err = refused(["a.yaml", "b.yaml", "--interleave"], capsys)
    assert "b.yaml: profile: costs time, and such runs are in no comparison" in err


def test_a_report_shows_profiled_runs_with_their_mark(tmp_path, capsys):
    plain = [make_record(seed) for seed in range(3)]
    folder = store([*plain, *map(profiled, plain)], tmp_path / "runs")
    report.main([folder])
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[2:6]] == [
        "profile",
        "-------",
        "none",
        "torch",
    ]
    assert "§ profiled (3 of 3 runs)" in out


def test_a_reference_is_made_without_profiled_runs(tmp_path, monkeypatch, capsys):
    plain = [make_record(seed, (0.90 + seed / 1000, 0.95, 0.98)) for seed in range(5)]
    later = {"created_at": "2026-02-01T00:00:00+00:00"}
    traced = [profiled(make_record(seed, (0.1, 0.1, 0.1), **later)) for seed in range(5, 7)]
    folder = store([*plain, *traced], tmp_path / "runs")
    monkeypatch.setattr(make_references, "FOLDER", tmp_path / "references")
    assert make_references.main([folder]) == 0
    assert load_reference(tmp_path / "references" / "simple-cnn-mnist.json").n == 5
    only = store(traced, tmp_path / "traced")
    with pytest.raises(SystemExit):
        make_references.main([only])
    assert "no run of an unchanged recipe" in capsys.readouterr().err
