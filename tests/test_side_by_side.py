"""A real sweep side by side, from its cells to a verdict; and the study by both ways."""

import pytest

from bench.side_by_side import makespan
from mnistbench import compare, sweep
from mnistbench.launch import step_windows
from mnistbench.schema.store import load_records

REAL = (
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--num-epochs", "1", "--model", "linear", "--target-accuracy", "0.2", "--jobs", "2"),
)


@pytest.mark.processes
def test_a_sweep_side_by_side_leaves_times_to_the_target(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(step_windows, "_ROUNDS", 2)
    monkeypatch.setattr(step_windows, "_MOST_ROUNDS", 2)
    assert sweep.main([*REAL, "--lr", "0.1,0.2", "--select", "time_to_accuracy_s"]) == 0
    out, told = capsys.readouterr()
    assert "seconds per step of 2 configurations are measured alone, in turn" in told
    assert "× time to target: its steps × seconds per step, measured alone (2 windows" in out
    records = load_records([tmp_path / "runs"]).records
    assert [len(record.window_step_s) for record in records] == [2, 2]
    assert {record.environment["measured_alone"] for record in records} == {False}
    assert len({record.alone_at for record in records}) == 1
    assert sweep.main([*REAL, "--lr", "0.1,0.2"]) == 0
    assert "measured alone" not in capsys.readouterr().err
    assert compare.main(["runs", "--by", "lr", "--metrics", "time_to_accuracy_s"]) == 0
    assert "n = 1 is too few" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("durations", "workers", "expected"),
    [([], 3, 0.0), ([2.0, 1.0], 1, 3.0), ([3.0, 2.0, 2.0, 1.0], 2, 4.0), ([5.0, 1.0], 16, 5.0)],
)
def test_each_run_begins_where_a_core_is_free_first(durations, workers, expected):
    assert makespan(durations, workers) == expected
