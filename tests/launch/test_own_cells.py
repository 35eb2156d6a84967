"""What is made of a run that left no record, also of one that torchrun started."""

import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from mnistbench.launch import commands, runs
from mnistbench.launch.own_cells import RunCell
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from tests.launch.stand_in import StandIn
from tests.launch.sweep_parts import leave, make_cells, run_cell

TORCHRUN = """
*****************************************
Setting OMP_NUM_THREADS environment variable for each process to be 1 in default
*****************************************
{said}
W1123 02:27:02.091000 24779 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process
E1123 02:27:02.095000 24779 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode
Traceback (most recent call last):
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
mnistbench.train FAILED
------------------------------------------------------------
Failures:
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : -15 (pid: 24788)  (SIGTERM)
  traceback : Signal 15 (SIGTERM) received by PID 24788
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : {status} (pid: 24787)
  traceback : {traceback}
============================================================
"""
NONE = "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html"


def torchrun(said="", status=1, traceback=NONE):
    """The end of a torchrun whose rank 0 ended first."""
    text = TORCHRUN.format(said=said, status=status, traceback=traceback)
    return SimpleNamespace(status=1, said=text)


@pytest.mark.parametrize(
    ("child", "error", "refused"),
    [
        (torchrun("mnistbench: error: lr: too high", 2), "lr: too high", True),
        (torchrun("mnistbench: error: a process is lost", 1), "a process is lost", False),
        (torchrun("Traceback\nValueError: boom"), "ValueError: boom", False),
        (
            torchrun(status=-9, traceback="Signal 9 (SIGKILL) received by PID 24787"),
            "a process of the run was ended by signal 9",
            False,
        ),
    ],
)
def test_torchruns_report_becomes_one_line(tmp_path, child, error, refused):
    attempt = make_cells(1)[0].ended(child, folder=tmp_path)
    assert (attempt.record, attempt.error, attempt.refused) == (None, error, refused)


def test_a_record_that_cannot_be_read_is_an_error(tmp_path):
    (cell,) = make_cells(1)
    leave(tmp_path, cell)
    (path,) = tmp_path.glob("*/*/record.json")
    path.write_text("{}")
    attempt = cell.ended(SimpleNamespace(status=0, said=""), folder=path.parents[1])
    assert attempt.error == f"{path}: not a record: no schema_version"


@pytest.mark.processes
def test_several_real_processes_run_a_cell_and_leave_one_record(tmp_path, small_config):
    config = small_config(model="linear", max_steps=2, output_dir="nowhere", num_threads=None)
    cell = RunCell(config=config, num_processes=2)
    attempt = run_cell(cell, folder=tmp_path / "new", num_threads=1, shared_cores=True)
    record = attempt.record
    assert (record.status, record.num_steps, record.config["seed"]) == ("completed", 2, 0)
    environment = record.environment
    assert (environment["num_processes"], environment["num_threads"]) == (2, 1)
    assert environment["measured_alone"] is False
    assert [path.parent.name for path in tmp_path.rglob("record.json")] == [record.run_id]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("told", "gpu", "expected"),
    [(None, False, "true"), (None, True, None), ("false", False, "false")],
)
def test_several_processes_are_told_of_the_cpu_where_there_is_no_gpu(
    tmp_path, monkeypatch, told, gpu, expected
):
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    if told:
        monkeypatch.setenv("ACCELERATE_USE_CPU", told)
    monkeypatch.setattr(commands, "_GPU_FILES", (str(tmp_path) if gpu else "no such file",))
    assert commands.device_environment().get("ACCELERATE_USE_CPU") == expected


@pytest.mark.processes
def test_values_reach_the_run_as_they_are(tmp_path):
    """Through a file: what a flag would refuse as unread is as the recipe has it."""
    values = {"optimizer": "adam", "momentum": 0.8, "lr": 1e-05, "augment": ("shift",)}
    cell = RunCell(
        config=RunConfig(
            dataset="synthetic",
            synthetic_train_size=1100,
            val_size=100,
            max_steps=1,
            model="linear",
            **values,
        )
    )
    record = run_cell(cell, folder=tmp_path / "new").record
    assert RunCell(config=RunConfig(**record.config)).id == cell.id


@pytest.mark.processes
@pytest.mark.parametrize("num_processes", [1, 2])
def test_cells_run_this_code_though_other_code_lies_in_the_current_folder(
    num_processes, tmp_path, monkeypatch
):
    StandIn(tmp_path / "code").used(monkeypatch)
    for module in ("mnistbench/__init__.py", "yaml.py", "random.py", "torch.py"):
        path = tmp_path / "elsewhere" / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise SystemExit('of the current folder')")
    monkeypatch.chdir(tmp_path / "elsewhere")
    attempt = run_cell(
        RunCell(config=RunConfig(), num_processes=num_processes), folder=tmp_path / "x"
    )
    assert attempt.error is None
    assert attempt.record.run_id.startswith("run-")


@pytest.mark.processes
def test_no_cell_runs_other_code_than_this(tmp_path, monkeypatch):
    runs.require_code.cache_clear()
    monkeypatch.setattr(runs, "PACKAGE_ROOT", tmp_path)
    with pytest.raises(InputError, match=r"would run .* instead"):
        run_cell(RunCell(config=RunConfig()), folder=tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="needs root, and unshare, to give this machine another name",
)
def test_processes_of_one_machine_meet_though_nobody_knows_its_name():
    command = commands.torchrun_command("platform", [], num_processes=2)
    named = ["unshare", "-u", "sh", "-c", 'hostname no-such.invalid; exec "$@"', "sh", *command]
    done = subprocess.run(named, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_children_look_where_this_process_looks_also_in_a_folder_that_no_path_can_name(
    tmp_path, monkeypatch
):
    folder = tmp_path / "a:b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(folder)
    told = commands.child_environment()
    assert told["PYTHONPATH"].split(os.pathsep)[:2] == [".", str(tmp_path)]
    assert told["PYTHONSAFEPATH"] == "1"
