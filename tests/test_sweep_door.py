"""The door to sweeps: a grid of flags, gone on with whatever stopped it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from mnistbench import sweep as door
from mnistbench.launch.local_executor import LocalExecutor
from mnistbench.schema.errors import Terminated
from mnistbench.schema.store import find_records, load_record
from tests.launch.stand_in import SWEEP, StandIn

pytestmark = pytest.mark.processes

REAL = (
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--num-epochs", "1", "--model", "linear", "--num-threads", "1", "--loss", "nets:mean_loss"),
)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    found = StandIn(tmp_path / "code").used(monkeypatch)
    monkeypatch.chdir(tmp_path / "code")
    return found


@pytest.fixture
def sweep(capsys):
    """Runs the door; gives exit status, stdout and the lines on stderr."""

    def run(*argv):
        try:
            status = door.main([*argv, "--fresh"])  # the stand-in cannot be preloaded
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, [line.removeprefix("mnistbench: ") for line in err.splitlines()]

    return run


def test_a_grid_is_run_once_and_shown(stand_in, sweep):
    status, out, told = sweep("--seed", "0..2", "--lr", "0.1,0.2")
    assert status == 0
    first, *lines, last = told
    assert first == "running 6 of 6 cells; each prints a line when it ends"
    assert [line.split(" done: ")[0] for line in lines] == [f"{n} of 6" for n in range(1, 7)]
    assert last.startswith("sweep written to runs/sweep (")
    assert "simple-cnn" in out
    assert len(find_records([Path("runs/sweep/cells")])) == 6
    status, again, told = sweep("--lr", "0.2,0.1", "--seed", "0..2")
    assert (status, again, told[:-1]) == (0, out, ["6 of 6 cells were done before"])
    assert len(stand_in.started()) == 6


def test_a_wider_grid_runs_what_is_new(stand_in, sweep):
    sweep("--seed", "0..1")
    status, _, told = sweep("--seed", "0..3")
    assert (status, told[0]) == (0, "2 of 4 cells were done before")
    assert [seed for _, seed in stand_in.started()] == [0, 1, 2, 3]


def test_a_changed_file_makes_other_cells_and_old_results_stay(stand_in, sweep, tmp_path):
    grid = ("--loss", "mse,my_loss.py:gce", "--seed", "0..1", "--format", "json")
    file = tmp_path / "code" / "my_loss.py"
    file.write_text("gce = 1")
    assert sweep(*grid)[0] == 0
    file.write_text("gce = 2")
    planned = json.loads(sweep(*grid, "--dry-run")[1])
    assert [row["state"] for row in planned] == ["done", "to run"] * 2
    digest = hashlib.sha256(b"gce = 2").hexdigest()[:10]
    assert [row["code"] for row in planned] == ["–", f"my_loss.py {digest}"] * 2
    assert sweep(*grid)[2][0].startswith("2 of 4 cells were done before")
    assert len(find_records([Path("runs/sweep/cells")])) == 6
    plan = json.loads(Path("runs/sweep/sweep.json").read_text())
    assert len({cell["code"] for cell in plan["cells"]}) == 3


def test_a_dry_run_lists_cells_and_writes_nothing(stand_in, sweep):
    sweep("--seed", "1", "--quiet")
    before = sorted(Path.cwd().rglob("*"))
    status, out, told = sweep("--seed", "0..1", "--dry-run", "--format", "json")
    assert (status, told) == (0, [])
    assert [(row["cell"][:17], row["state"]) for row in json.loads(out)] == [
        ("simple-cnn-seed-0", "to run"),
        ("simple-cnn-seed-1", "done"),
    ]
    assert sorted(Path.cwd().rglob("*")) == before


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_failed_cell_is_told_and_is_status_1(stand_in, sweep, quiet):
    stand_in.does(but={1: (0, 1, "no luck")})
    status, out, told = sweep("--seed", "0..2", *quiet)
    assert status == 1
    assert "simple-cnn" in out
    assert "seed 1 FAILED: no luck" in "\n".join(told)
    assert told[-1] == "1 of 3 cells failed; the same command tries them again"
    assert len(told) == (2 if quiet else 7)
    assert [seed for _, seed in stand_in.started()] == [0, 1, 2, 1]
    stand_in.does()
    assert sweep("--seed", "0..2", *quiet)[0] == 0
    assert [seed for _, seed in stand_in.started()] == [0, 1, 2, 1, 1]


def test_nothing_but_failures_shows_no_table(stand_in, sweep):
    stand_in.does(status=1, says="no luck")
    assert sweep("--retries", "0")[:2] == (1, "")
    assert len(stand_in.started()) == 1


@pytest.mark.parametrize("raised", [KeyboardInterrupt, Terminated])
def test_an_interrupted_sweep_says_how_to_go_on(stand_in, sweep, monkeypatch, raised):
    run = LocalExecutor.run

    def stopped(self, cells, *, folder):
        attempts = run(self, cells, folder=folder)
        yield next(attempts)
        raise raised

    monkeypatch.setattr(LocalExecutor, "run", stopped)
    status, out, told = sweep("--seed", "0..2")
    assert (status, out) == (143 if raised is Terminated else 130, "")
    word = "terminated" if raised is Terminated else "interrupted"
    assert told[-1] == f"{word}: 1 of 3 cells are done; the same command goes on"
    assert not Path("runs/sweep/.running").exists()


def test_values_come_from_recipe_file_and_flags(stand_in, sweep):
    Path("base.yaml").write_text("lr: 0.5\nseed: 4\n")
    argv = ("--recipe", "cnn4-ce,dnn4-ce", "--config", "base.yaml", "--momentum", "0,0.9")
    status, out, _ = sweep(*argv, "--dry-run", "--format", "csv")
    assert status == 0
    cells = [line.rpartition("-")[0] for line in out.splitlines()[1:]]
    assert cells == [
        f"{recipe}-lr-0.5-momentum-{momentum}-seed-4"
        for recipe in ("cnn4-ce", "dnn4-ce")
        for momentum in (0, 0.9)
    ]


@pytest.mark.parametrize(
    ("argv", "cells"),
    [
        (["--nesterov", "--seed", "1"], ["simple-cnn-nesterov-true-seed-1"]),
        (["--seed", "1", "--no-fused-optimizer"], ["simple-cnn-fused-optimizer-false-seed-1"]),
        (["--compile", "none,true"], ["simple-cnn-seed-0", "simple-cnn-compile-true-seed-0"]),
        (["--no-cuda_graph"], ["simple-cnn-cuda-graph-false-seed-0"]),
        (["--seed", "1", "3..4"], [f"simple-cnn-seed-{seed}" for seed in (1, 3, 4)]),
        (["--lr", "0.1,", "0.2"], ["simple-cnn-lr-0.1-seed-0", "simple-cnn-lr-0.2-seed-0"]),
        (
            ["--loss", "mse,nets:gce", "--loss-args", "q=1,2", "--loss-args", "to=[3,4]"],
            [f"simple-cnn-{end}-seed-0" for end in ("mse", "gce-q-1-to-3+4", "gce-q-2-to-3+4")],
        ),
    ],
)
def test_switches_are_as_train_has_them_or_lists(stand_in, sweep, argv, cells):
    Path("nets.py").write_text("gce = 1")
    _, out, _ = sweep(*argv, "--dry-run", "--format", "csv")
    assert [line.rpartition("-")[0] for line in out.splitlines()[1:]] == cells


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--no-such-flag", "1"], "no-such-flag"),
        (["--lr", "0.1,x"], "cell --lr x: --lr: should be a valid number"),
        (["--seed", "0..x"], "seed: '0..x' is no range"),
        (["--recipe", "cnn4-ce,nothing"], "cell --recipe nothing: --recipe: should be"),
        (
            ["--optimizer", "sgd,adam", "--momentum", "0.1"],
            "cell --optimizer adam: --momentum: has",
        ),
        (
            ["--processes", "3"],
            "global_batch_size: 64 samples cannot be shared",
        ),
        (["--jobs", "0"], "--jobs: should be a number from 1 on, or auto (got 0)"),
        (["--jobs", "foo"], "--jobs: should be a number from 1 on, or auto (got 'foo')"),
        (["--jobs", "auto", "--executor", "ray"], "give a number for a cluster"),
        (["--jobs", "auto", "--command", "true"], "--jobs: auto tries our own runs"),
        (["--retries", "-1"], "--retries: should be greater than or equal to 0"),
        (["--ray-address", "auto"], "--ray-address: has no effect without --executor ray"),
        (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
        (["--select", "test_accuracy"], "select: test_accuracy is read once"),
        (["--epochs", "1,2"], "--epochs: unknown flag; did you mean --num-epochs?"),
        (["--optimizer", "sgd", "adm"], "unknown name 'adm'; did you mean adam?"),
        (["--target-accuracy", "97,98"], "(got 97); use a fraction: 0.97"),
        (["--lr"], "--lr: an empty value"),
        (["--select", "val_acuracy"], "did you mean val_accuracy?"),
        (["--select", "beauty"], "select: unknown metric 'beauty'; use one of"),
        (["--select", "wall_s", "--jobs", "2"], "select: wall_s depends on speed"),
        (["--output-dir", "record.json/x"], "record.json is not a folder"),
        (["--output-dir", "~no-such-user/x"], "no such user's home"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(stand_in, sweep, argv, says):
    before = sorted(Path.cwd().rglob("*"))
    status, out, told = sweep(*argv)
    assert (status, out, len(told)) == (2, "", 1)
    assert told[0].startswith("error: ")
    assert says in told[0]
    assert sorted(Path.cwd().rglob("*")) == before


def test_the_door_does_not_pay_for_torch():
    code = "import sys, mnistbench.sweep; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def start(*argv, code=None):
    """The door in a process; with `code`, the stand-in there is what its cells run."""
    door = ["-c", SWEEP, code] if code else ["-m", "mnistbench", "sweep"]
    return subprocess.Popen(
        [sys.executable, *door, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(happened, process=None):
    patience = time.monotonic() + 60
    while not happened():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.01)


def test_a_sweep_of_60_cells_killed_three_times_has_every_cell_once(tmp_path):
    stand_in = StandIn(tmp_path / "code")
    stand_in.does(0.05)
    argv = ["--seed", "0..14", "--lr", "0.1,0.2", "--model", "mlp,linear", "--jobs", "2"]
    argv += ["--no-step-times", "--output-dir", str(tmp_path / "sweep")]
    for num_started in (7, 20, 41):
        process = start(*argv, code=tmp_path / "code")
        until(lambda n=num_started: len(stand_in.started()) >= n, process)
        process.kill()
        process.communicate()
    until(lambda: not any(psutil.pid_exists(pid) for pid, _ in stand_in.started()))
    process = start(*argv, code=tmp_path / "code")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "60 of 60 done" in err
    records = [load_record(path) for path in find_records([tmp_path / "sweep"])]
    assert Counter(record.seed for record in records) == dict.fromkeys(range(15), 4)
    assert len({record.run_id for record in records}) == 60
    assert 60 <= len(stand_in.started()) <= 60 + 3 * 2  # at most what ran at each kill ran again
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == [
        ".lock",
        "cells",
        "sweep.json",
    ]


def test_real_runs_of_one_and_two_processes_end_with_a_killed_sweep_and_are_run_again(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text("from torch.nn.functional import cross_entropy as mean_loss\n")
    argv = [*REAL, "--processes", "1,2", "--output-dir", str(tmp_path / "s")]
    for num_workers in (1, 2):
        process = start(*argv)
        until(lambda n=num_workers: len(workers(tmp_path)) == n, process)
        process.kill()
        process.communicate()
        until(lambda: not workers(tmp_path))
    process = start(*argv, "--format", "json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    records = [load_record(path) for path in find_records([tmp_path / "s"])]
    assert sorted(record.environment["num_processes"] for record in records) == [1, 2]
    assert {record.status for record in records} == {"completed"}
    assert len(json.loads(out)) == 2


def workers(folder):
    """Processes that train for a sweep in `folder`: not launchers."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        trains = "mnistbench.train" in command and "torch.distributed.run" not in command
        if trains and any(str(folder) in word for word in command):
            found.append(process.pid)
    return found


def test_a_signal_to_the_command_ends_its_runs_and_is_its_status(tmp_path):
    stand_in = StandIn(tmp_path / "code")
    stand_in.does(600, but={0: (0, 0, "")})
    process = start("--seed", "0..3", "--output-dir", str(tmp_path), code=tmp_path / "code")
    until(lambda: len(stand_in.started()) == 2, process)
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate()
    assert (process.returncode, out) == (143, "")
    assert "terminated: 1 of 4 cells are done; the same command goes on" in err
    assert not any(psutil.pid_exists(pid) for pid, _ in stand_in.started())
