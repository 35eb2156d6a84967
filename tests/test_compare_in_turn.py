"""The door to comparisons of runs in turn: when they end, what is told, and what is left."""

import sys

import pytest

from mnistbench import compare as door
from mnistbench.compare_flags import short_names
from mnistbench.launch import interleave, revisions
from mnistbench.launch.runs import RunFailedError, TrainSide
from mnistbench.schema.errors import Terminated
from mnistbench.schema.store import find_records
from tests.compare_runs import pairs, refused, store_pairs
from tests.json_script import SCRIPT


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Folders a and b in the current folder, B a tenth slower."""
    monkeypatch.chdir(tmp_path)
    return store_pairs(tmp_path)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["a", "a", "--max-minutes", "0"], "--max-minutes: should be above 0"),
        (["a", "b", "--output-dir", "a"], "already holds records"),
        (["a", "missing"], "missing: does not exist"),
    ],
)
def test_bad_input_to_runs_in_turn_leaves_no_file(argv, says, stored, capsys):
    before = set(stored.rglob("*"))
    assert says in refused(["--interleave", *argv], capsys)[1]
    assert set(stored.rglob("*")) == before


@pytest.fixture
def run_in_turn(monkeypatch):
    """Stands in for the runs of both sides; gives what was asked of it."""
    asked = {}

    def use(factor, pairs_in_all=64, error=None):
        def run(sides, *, output_dir, max_minutes, first_seed, settled):
            asked.update(zip("abc", sides, strict=False))
            asked.update(output_dir=output_dir, max_minutes=max_minutes, first_seed=first_seed)
            if error:
                raise error
            of_a, of_b = pairs(pairs_in_all, factor)
            found = [of_a, *[of_b] * (len(sides) - 1)]
            for n in range(1, pairs_in_all + 1):
                if reason := settled([side[:n] for side in found]):
                    interleave.say(reason)
                    break
            return [side[:n] for side in found]

        monkeypatch.setattr(interleave, "run_interleaved", run)
        return asked

    return use


def test_runs_in_turn_end_when_settled_and_the_table_says_the_same(
    stored, run_in_turn, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "1000")
    (stored / "b.yaml").write_text("lr: 0.1\n")
    asked = run_in_turn(0.9)
    argv = ["--interleave", "a", "b.yaml", "--fail-if", "samples_per_s < -5%"]
    assert door.main([*argv, "--max-minutes", "3", "--output-dir", "new"]) == 1
    out, err = capsys.readouterr()
    assert "settled after 8 pairs: B is slower than A (samples/s)" in out
    assert "settled after 8 pairs" in err
    assert "B (b.yaml) is slower than A (a): samples/s -10.0 %" in out
    assert "every p is 2 times that of one" in out
    assert asked["b"].arguments == ("--config", str(stored / "b.yaml"))
    assert (asked["max_minutes"], asked["first_seed"]) == (3.0, 0)
    assert str(asked["output_dir"]) == "new"


def test_several_sides_end_together_by_their_own_names(stored, run_in_turn, capsys):
    asked = run_in_turn(0.9)
    assert door.main(["--interleave", "a", "b", "./b", "--baseline", "b"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert [asked[side].name for side in "abc"] == ["b #1", "a", "b #2"]
    assert (
        "settled after 8 pairs: a is slower than b #1 (samples/s); settled after 8 pairs: b" in out
    )
    assert "b #2 is slower than b #1: samples/s -10.0 %" in out
    assert "adjusted over the rows of samples/s and, apart, the others (Holm)" in out


def test_a_commit_that_lands_meanwhile_does_not_lose_the_runs(
    stored, run_in_turn, monkeypatch, capsys
):
    def at_commits(runs):
        return [
            r.model_copy(
                update={"environment": r.environment | {"git_commit": "xy"[r.seed > 3] * 40}}
            )
            for r in runs
        ]

    sides = [at_commits(side) for side in pairs(8, 0.9)]
    run_in_turn(0.9, pairs_in_all=8)
    monkeypatch.setitem(globals(), "pairs", lambda n, factor: sides)
    assert door.main(["--interleave", "a", "b"]) == 0
    out = " ".join(capsys.readouterr().out.split())  # lines end anywhere
    assert "B (b) is slower than A (a): samples/s -10.0 %" in out
    assert "n = 8 pairs" in out
    assert "several commits on side B: xxxxxxxxxx, yyyyyyyyyy" in out


def test_a_thing_may_be_run_in_turn_with_itself(stored, run_in_turn, capsys):
    asked = run_in_turn(1.0)
    assert door.main(["--interleave", "a", "a"]) == 0
    assert "no difference in samples/s larger than 2 %" in capsys.readouterr().out
    assert asked["output_dir"].parts[:2] == ("runs", "compare")


def test_runs_that_time_ended_are_not_called_settled(stored, run_in_turn, capsys):
    run_in_turn(0.9, pairs_in_all=3)
    assert door.main(["--interleave", "a", "b", "--max-minutes", "2"]) == 0
    assert "not settled within 2 min" in capsys.readouterr().out


def test_runs_that_turn_out_not_comparable_end_at_once(stored, run_in_turn, monkeypatch, capsys):
    run_in_turn(0.9)
    sides = pairs(8, 0.9)
    other = {"num_threads": 2, "global_batch_size": 64}
    b = [run.model_copy(update={"environment": other}) for run in sides[1]]
    monkeypatch.setitem(globals(), "pairs", lambda n, factor: (sides[0], b))
    assert door.main(["--interleave", "a", "b"]) == 0
    assert "not comparable: different num_threads" in capsys.readouterr().out


def test_revisions_are_run_with_the_flags_after_the_dashes(
    stored, run_in_turn, monkeypatch, capsys
):
    asked = run_in_turn(0.9)

    def train_sides(named, *, arguments, checkouts):
        assert not [*checkouts.iterdir()]
        return [TrainSide(name=f"{name} {at}", arguments=arguments) for at, name in named]

    monkeypatch.setattr(revisions, "train_sides", train_sides)
    argv = ["--revisions", "main", "HEAD~1", "--", "--recipe", "simple-cnn", "--quiet"]
    assert door.main(argv) == 0
    assert asked["a"].name == "A main"
    assert asked["b"].name == "B HEAD~1"
    assert asked["b"].arguments == ("--recipe", "simple-cnn", "--quiet")
    assert "A is main, B is HEAD~1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (RunFailedError("side A: the run diverged"), 1, "error: side A: the run diverged"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "terminated"),
    ],
)
def test_runs_that_fail_or_are_stopped_say_so(error, status, says, stored, run_in_turn, capsys):
    run_in_turn(1.0, error=error)
    with pytest.raises(SystemExit) as stop:
        door.main(["--interleave", "a", "b"])
    assert stop.value.code == status
    assert capsys.readouterr().err == f"mnistbench: {says}\n"


@pytest.mark.parametrize(
    ("commands", "names"),
    [
        (["python a.py", "python b.py"], ["a.py", "b.py"]),
        (["python t.py --lr 0.1 --x", "python t.py --lr 0.2 --x"], ["--lr 0.1", "--lr 0.2"]),
        (["python t.py", "python t.py --fast"], ["python t.py", "--fast"]),
        (["python t.py a a", "python t.py a"], ["a", "python t.py a"]),
        (["python t.py", "python t.py"], ["python t.py #1", "python t.py #2"]),
        (["a", "b", "a"], ["a #1", "b", "a #2"]),
        (["t " + "x" * 90, "t y"], ["x" * 39 + "…", "y"]),
        (["t"], ["t"]),
        ([], []),
    ],
)
def test_commands_are_called_by_what_differs(commands, names):
    assert short_names(commands) == names


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path


@pytest.mark.processes
def test_commands_run_in_turn_until_they_are_settled(scripts, capsys):
    commands = [f"{sys.executable} train.py {rest}" for rest in ("100", "90 --constant")]
    argv = ["--commands", *commands, "--baseline", "100", "--output-dir", "new", "--seed", "2"]
    assert door.main([*argv, "--fail-if", "samples_per_s < -5%"]) == 1
    out, err = capsys.readouterr()
    assert f"A is {commands[0]}, B is {commands[1]}" in out
    assert "B (90 --constant) is slower than A (100): samples/s -9.5 %" in out
    assert "settled after 8 pairs: B is slower than A (samples/s)" in out
    assert (
        "B: each run evaluated the same, so all are one sample of it; have the command use" in out
    )
    assert "A: each run evaluated the same" not in out
    assert "pair 1: A 102 samples/s, B 92" in err
    for side in "AB":
        names = {path.parent.parent.name for path in find_records([scripts / "new" / side])}
        assert names == {f"seed-{seed}" for seed in range(2, 10)}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("asked", "mend"),
    [
        (["--metrics", "walls"], "no walls; did you mean wall_s?"),
        (["--fail-if", "val_accuracy < 0.9"], "no val_accuracy; it has samples_per_s, train_s"),
    ],
)
def test_a_metric_that_a_script_does_not_leave_is_one_line(asked, mend, scripts, capsys):
    command = f"{sys.executable} train.py 1"
    with pytest.raises(SystemExit) as stop:
        door.main(["--commands", command, command, "--output-dir", "new", *asked])
    assert stop.value.code == 2
    assert f"error: side A: its record has {mend}" in capsys.readouterr().err
    assert len(find_records([scripts / "new"])) == 2


@pytest.mark.processes
def test_a_metric_of_the_scripts_own_is_settled_on(scripts, capsys):
    commands = [f"{sys.executable} train.py 1 {rest}" for rest in ("", "--constant")]
    assert door.main(["--commands", *commands, "--metrics", "val/f1", "--max-minutes", "0.05"]) == 0
    assert "f1" in capsys.readouterr().out


@pytest.mark.processes
def test_a_script_that_fails_ends_the_comparison(scripts, capsys):
    with pytest.raises(SystemExit) as stop:
        door.main(["--commands", *(f"{sys.executable} train.py 1 {x}" for x in ("", "--fail"))])
    assert stop.value.code == 1
    assert "error: side B: the run with seed 0 failed: runs/compare/" in capsys.readouterr().err
