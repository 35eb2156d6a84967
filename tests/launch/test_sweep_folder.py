"""The folder of a sweep: its plan, its results, and what a killed sweep leaves."""

import json
import os
import subprocess
import sys

import pytest

from mnistbench.launch.own_cells import RunCell
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import find_records, save_record
from tests.launch.sweep_parts import leave, make_cells, record_of


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "sweep")


def test_a_result_is_there_once_it_was_adopted(folder, tmp_path):
    first, second = make_cells(2)
    with folder.opened([first, second], grid={}):
        record = leave(folder.running, first)
        assert folder.load(first) is None
        folder.adopt(first)
        assert folder.load(first) == record
    assert folder.load(second) is None
    assert find_records([tmp_path]) == [folder.record_path(first)]
    assert not folder.running.exists()


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_what_did_not_end_is_no_result(folder, status):
    (cell,) = make_cells(1)
    with folder.opened([cell], grid={}):
        leave(folder.running, cell, status)
        folder.adopt(cell)
        assert not list(folder.running.iterdir())
    assert folder.load(cell) is None


def test_runs_that_had_ended_when_a_sweep_was_killed_are_adopted(folder):
    done, twice, halfway, broken, failed = make_cells(5)
    leave(folder.running, done, "diverged")
    records = [leave(folder.running, twice, wall_s=wall_s) for wall_s in (1.0, 2.0)]
    (folder.running / f"{halfway.id}-0123abcd" / "run").mkdir(parents=True)
    path = folder.running / f"{broken.id}-0123abcd" / "run" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"schema_version": 1, "run_id":')
    leave(folder.running, failed, "failed")
    with folder.opened([], grid={}):
        assert folder.load(done).status == "diverged"
        assert folder.load(twice) in records
        assert [folder.load(cell) for cell in (halfway, broken, failed)] == [None] * 3
        assert not list(folder.running.iterdir())


def test_a_result_is_never_replaced(folder):
    (cell,) = make_cells(1)
    with folder.opened([cell], grid={}):
        first = leave(folder.running, cell, wall_s=1.0)
        folder.adopt(cell)
        leave(folder.running, cell, wall_s=2.0)
        folder.adopt(cell)
        assert folder.load(cell) == first
        assert not list(folder.running.iterdir())


def test_a_record_of_a_run_that_failed_among_the_results_is_refused(folder):
    (cell,) = make_cells(1)
    save_record(record_of(cell, "failed"), folder.record_path(cell).parent)
    with pytest.raises(InputError, match=r"record\.json: is of a run that failed; remove"):
        folder.load(cell)


def test_the_plan_names_grids_and_cells_and_grows(folder, tmp_path):
    plan = tmp_path / "sweep" / "sweep.json"
    cells = make_cells(3)
    with folder.opened(cells[:2], grid={"seed": "0..1"}):
        before = plan.read_text()
    with folder.opened(cells[:2], grid={"seed": "0..1"}):
        assert plan.read_text() == before
    with folder.opened(cells[1:], grid={"seed": "1..2"}):
        values = json.loads(plan.read_text())
    assert values["grids"] == [{"seed": "0..1"}, {"seed": "1..2"}]
    assert [cell["id"] for cell in values["cells"]] == [cell.id for cell in cells]
    planned = {"id": cells[2].id, "values": {"seed": 2}, "num_processes": 1, "code": None}
    assert values["cells"][2] == planned


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a sweep"),
        ('{"schema_version": 2}', "schema 2 is newer than this version reads"),
        ('{"schema_version": 1, "cells": [{"id": "x"}]}', "not a sweep: cells.0.values"),
    ],
)
def test_another_plan_is_refused_and_left_as_it_is(folder, tmp_path, text, says):
    plan = tmp_path / "sweep" / "sweep.json"
    plan.parent.mkdir()
    plan.write_text(text)
    with pytest.raises(InputError, match=says), folder.opened(make_cells(1), grid={}):
        pytest.fail("opened")
    assert plan.read_text() == text


def test_a_plan_names_folders_whose_names_are_no_unicode(folder, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    (cell,) = make_cells(1)
    for seed in ("0", "1"):  # it is read as well
        with folder.opened([cell], grid={"data_dir": name, "seed": seed}):
            plan = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [grid["data_dir"] for grid in plan["grids"]] == [name, name]


@pytest.mark.parametrize("name", [".running", "cells"])
def test_a_file_where_a_folder_should_be_is_found_before_work(folder, tmp_path, name):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / name).write_text("precious")
    with (
        pytest.raises(InputError, match=f"{name}: is no folder, and none of ours; remove it"),
        folder.opened(make_cells(1), grid={}),
    ):
        pass
    assert (tmp_path / "sweep" / name).read_text() == "precious"


@pytest.mark.parametrize("name", [".running", ".running/x-0123abcd", "cells", ".lock"])
@pytest.mark.parametrize("kind", ["folder", "file", "nothing"])
def test_what_a_link_leads_to_is_left_as_it_is(folder, tmp_path, name, kind):
    kept = tmp_path / "kept"
    if kind == "folder":
        leave(kept / ".running", make_cells(1)[0])
        (kept / "x-0123abcd").mkdir()
    elif kind == "file":
        kept.write_text("precious")
    before = [(path, path.is_file() and path.read_bytes()) for path in sorted(tmp_path.rglob("*"))]
    place = tmp_path / "sweep" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(kept)
    with (
        pytest.raises(InputError, match=f"{name}: is a symbolic link, and none of ours; remove it"),
        folder.opened(make_cells(1), grid={}),
    ):
        pytest.fail("opened")
    place.unlink()
    after = [p for p in sorted(tmp_path.rglob("*")) if not p.is_relative_to(tmp_path / "sweep")]
    assert [(path, path.is_file() and path.read_bytes()) for path in after] == before


@pytest.mark.processes
def test_a_pipe_in_the_place_of_the_lock_is_not_waited_for(folder, tmp_path):
    (tmp_path / "sweep").mkdir()
    os.mkfifo(tmp_path / "sweep" / ".lock")
    code = (
        "import sys; from pathlib import Path\n"
        "from mnistbench.launch.sweep_folder import SweepFolder\n"
        "with SweepFolder(Path(sys.argv[1])).opened([], grid={}): pass\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "sweep"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ".lock: no regular file" in done.stderr


def test_what_a_sweep_did_not_make_it_does_not_remove(folder):
    (cell,) = make_cells(1)
    (folder.running / "notes").mkdir(parents=True)
    (folder.running / "notes" / "file").write_text("mine")
    linked = folder.running / f"{cell.id}-0123abcd"
    linked.mkdir()
    elsewhere = folder.running / "notes" / "run"
    save_record(record_of(cell), elsewhere)
    (linked / "run").symlink_to(elsewhere)
    with folder.opened([cell], grid={}):
        assert folder.load(cell) is None  # only what a run of ours left is adopted
    assert not linked.exists()
    assert (folder.running / "notes" / "file").read_text() == "mine"
    assert (elsewhere / "record.json").exists()


def test_a_result_that_leads_nowhere_is_no_place_for_another(folder):
    (cell,) = make_cells(1)
    folder.record_path(cell).parent.mkdir(parents=True)
    folder.record_path(cell).symlink_to("nowhere")
    with pytest.raises(InputError, match=r"record\.json: cannot be read .*; remove its folder"):
        folder.load(cell)


def test_the_plan_of_anonymous_cells_names_nobody(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    config = RunConfig(
        anonymize=True,
        data_dir="/home/ada/data",
        output_dir="/home/ada/runs",
        dataset="/home/ada/digits.npz",
        loss="/home/ada/nets.py:gce",
        loss_args={"table": "/home/ada/table.pt"},
    )
    asked = {"data_dir": "/home/ada/data", "config": "/home/ada/c.yaml", "seed": "0"}
    for _ in range(2):
        with folder.opened([RunCell(config=config)], grid=asked):
            text = (tmp_path / "sweep" / "sweep.json").read_text()
    assert "ada" not in text
    assert json.loads(text)["grids"] == [{"config": "…/c.yaml", "seed": "0"}]


def test_one_sweep_at_a_time_has_the_folder(folder, tmp_path):
    path = tmp_path / "sweep"
    with (
        folder.opened([], grid={}),
        pytest.raises(InputError, match="another sweep runs in this folder"),
        SweepFolder(path).opened([], grid={}),
    ):
        pytest.fail("opened twice")
    with SweepFolder(path).opened([], grid={}):
        assert (path / "sweep.json").exists()


@pytest.mark.processes
def test_the_lock_of_a_killed_sweep_is_gone_with_it(folder, tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from mnistbench.launch.sweep_folder import SweepFolder\n"
        "with SweepFolder(Path(sys.argv[1])).opened([], grid={}):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "sweep"], check=False)
    assert killed.returncode == -9
    with folder.opened([], grid={}):
        assert folder.load(make_cells(1)[0]) is None


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="file is not a folder"),
        SweepFolder(tmp_path / "file" / "sweep").opened([], grid={}),
    ):
        pytest.fail("opened")


def test_a_result_that_cannot_be_kept_is_one_line(folder, monkeypatch):
    (cell,) = make_cells(1)

    def full(self, target):
        raise OSError(28, os.strerror(28), str(target))

    with folder.opened([cell], grid={}):
        leave(folder.running, cell)
        monkeypatch.setattr("pathlib.Path.rename", full)
        with pytest.raises(InputError, match="No space left on device"):
            folder.adopt(cell)
