"""`mnistbench sweep --command`: a grid of a script of the user's own."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mnistbench import sweep as command
from mnistbench.schema.store import find_records, load_record
from tests import warm_commands
from tests.launch.script_stand_in import write_script

pytestmark = pytest.mark.processes

PYTHON = shlex.quote(sys.executable)
TRAIN = f"{PYTHON} train.py lr={{lr}}"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    write_script(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


@pytest.fixture
def sweep(capsys):
    """Runs the command; gives exit status, stdout and the lines on stderr."""

    def run(*argv):
        try:
            status = command.main(argv)
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, [line.removeprefix("mnistbench: ") for line in err.splitlines()]

    return run


def started():
    path = Path("started")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kept(folder="runs/sweep"):
    return [load_record(path) for path in find_records([Path(folder)])]


def test_a_grid_is_run_once_and_goes_on(sweep):
    status, out, told = sweep("--command", TRAIN, "--values", "lr=0.01,0.1", "seed=0..1")
    assert status == 0
    assert told[0] == "running 4 of 4 cells; each prints a line when it ends"
    line = "1 of 4 done: lr 0.01, seed 0: perplexity 3.25, 1.0 s"
    assert any(one.startswith(line) for one in told)
    assert [words[1:] for words in started()] == [["lr=0.01"], ["lr=0.1"]] * 2
    assert sorted((r.seed, r.config["lr"]) for r in kept()) == [
        (seed, lr) for seed in (0, 1) for lr in (0.01, 0.1)
    ]
    assert "0.01" in out
    again = sweep("--command", TRAIN, "--values", "lr=0.1,0.01", "seed=0,1")
    assert (again[0], again[2][0]) == (0, "4 of 4 cells were done before")
    Path("train.py").write_text(Path("train.py").read_text() + "# edited\n")
    planned = sweep("--command", TRAIN, "--values", "lr=0.1", "seed=0", "--dry-run")[1]
    assert "train.py " in planned
    assert "to run" in planned
    assert len(started()) == 4


def test_what_names_a_secret_is_in_no_plan_name_or_line(sweep):
    """What the record says of it is the recorder's: tests/recorder/test_recording.py."""
    command = f"{PYTHON} train.py t={{hf_token}} --key abc123"
    status, _, told = sweep("--command", command, "--values", "hf_token=abc123,b")
    asked = ["t=abc123", "--key", "abc123"]
    assert (status, asked in [words[1:] for words in started()]) == (0, True)
    files = [path for path in Path("runs").rglob("*") if path.is_file()]
    texts = [path.read_text() for path in files if path.name == "sweep.json"]
    assert "abc123" not in " ".join([*texts, *map(str, files), *told])


def test_words_arrive_as_they_are_and_runs_side_by_side_are_marked(sweep):
    values = ("x='a b','\"',-1,[1,2]", "seed=3")
    status, _, _ = sweep(
        "--command", f"{PYTHON} train.py {{x}}", "--values", *values, "--jobs", "2"
    )
    assert status == 0
    assert sorted(words[1:] for words in started()) == [['"'], ["-1"], ["[1,2]"], ["a b"]]
    environments = [record.environment for record in kept()]
    assert {environment["shared"] for environment in environments} == {"1"}
    assert None not in {environment["threads"] for environment in environments}


@pytest.mark.parametrize(
    ("word", "says", "num_tries"),
    [
        ("records=2", "left 2 records", 1),
        ("records=0", "left no record: no mnistbench.record in it", 1),
        ("exit=3", "failed after its record", 2),
        ("exit=2", "failed after its record", 1),
        ("seed=7", "its record is of seed 7, not 0: the script sets a seed itself", 1),
        ("sha=" + 64 * "0", "train.py was changed since; start the sweep again", 1),
    ],
)
def test_a_script_that_leaves_no_record_of_the_cell_has_failed(sweep, word, says, num_tries):
    argv = ("--command", f"{PYTHON} train.py {{x}}", "--values", f"x={word},y=1", "seed=0")
    status, out, told = sweep(*argv)
    assert (status, len(started()), len(kept())) == (1, num_tries + 1, 1)
    assert any(f"FAILED: {says}" in line for line in told)
    assert not Path("runs/sweep/.running").exists()
    assert out


def test_a_script_that_is_edited_while_a_sweep_runs_ends_it_in_one_line(sweep):
    argv = ("--command", f"{PYTHON} train.py edit={{x}}", "--values", "x=train.py,other.py")
    status, _, told = sweep(*argv)
    assert (status, len(kept())) == (2, 1)
    assert "was planned to run, and train.py " in told[-1]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--values", "lr=1"], "--values: are those of a --command"),
        (["--command", TRAIN], "values: {lr} has none"),
        (["--command", TRAIN, "--values", "lr"], "--values: should be NAME=VALUE (got 'lr')"),
        (["--command", TRAIN, "--values", "lr=1", "--lr", "2"], "--lr: has no effect with --comm"),
        (["--command", TRAIN, "--values", "lr=1", "--processes", "2"], "--processes: has no eff"),
        (["--command", TRAIN, "--values", "lr=1", "--config", "a.yaml"], "--config: has no eff"),
        (["--command", TRAIN, "--values", "lr=1", "--recipe", "cnn4-ce"], "--recipe: has no eff"),
        (["--command", "pythn train.py"], "--command: pythn: no such program"),
        (["--command", "python train.py > log"], "--command: > is for a shell"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(sweep, here, argv, says):
    before = sorted(here.rglob("*"))
    status, out, told = sweep(*argv)
    assert (status, out, len(told)) == (2, "", 1)
    assert f"error: {says}" in told[0]
    assert sorted(here.rglob("*")) == before


def until(happened):
    patience = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < patience
        time.sleep(0.01)


def runs(pid):
    """Whether it does; what ended may wait for an init that takes its time to look."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_scripts_and_what_they_start_end_with_a_sweep_and_are_run_again(sweep, number):
    """A shell between them, which knows nothing of parents, and a script that takes its time."""
    does = f"sh -c '{PYTHON} train.py lr={{lr}} sleep=600; true'"
    argv = ["--command", does, "--values", "lr=1,2", "--jobs", "2"]
    words = [sys.executable, "-m", "mnistbench", "sweep", *argv]
    with warm_commands.cold():  # without torch, as what records nothing here
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    until(lambda: len(started()) == 2)
    os.kill(process.pid, number)
    assert process.communicate()[1].endswith("goes on\n") == (number == signal.SIGTERM)
    assert process.returncode == (143 if number == signal.SIGTERM else -number)
    until(lambda: not any(runs(pid) for pid, *_ in started()))
    argv[1] = argv[1].replace("600", "0")
    assert sweep(*argv)[0] == 0
    assert [path.name for path in Path("runs/sweep").iterdir() if path.name == ".running"] == []
