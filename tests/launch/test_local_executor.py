"""Cells in processes on this machine, by themselves and side by side."""

import os
import signal
import threading
import time

import psutil
import pytest

from mnistbench.launch import local_executor
from mnistbench.launch.local_executor import LocalExecutor
from mnistbench.launch.own_cells import RunCell
from mnistbench.recorder.limits import usable_cores
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.store import load_record
from tests.launch.stand_in import StandIn
from tests.launch.sweep_parts import make_cells

pytestmark = pytest.mark.processes


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    found = StandIn(tmp_path / "code").used(monkeypatch)
    monkeypatch.chdir(tmp_path / "code")
    return found


def run(cells, folder, *, jobs=1):
    return list(LocalExecutor(jobs=jobs).run(cells, folder=folder))


def test_cells_run_one_after_the_other_alone_on_all_cores(stand_in, tmp_path):
    cells = make_cells(3)
    attempts = run(cells, tmp_path / "scratch")
    assert [attempt.cell for attempt in attempts] == cells
    assert [attempt.record.seed for attempt in attempts] == [0, 1, 2]
    environment = attempts[0].record.environment
    assert (environment["measured_alone"], environment["num_threads"]) == (True, None)


def test_a_record_lies_where_the_sweep_takes_it_from(stand_in, tmp_path):
    (attempt,) = run(make_cells(1), tmp_path / "scratch")
    (path,) = (tmp_path / "scratch").glob(f"{attempt.cell.id}-*/{attempt.record.run_id}/*.json")
    assert load_record(path) == attempt.record


def test_side_by_side_cells_divide_the_cores_and_say_so(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(local_executor, "usable_cores", lambda: 8)
    stand_in.does(0.3)
    own = RunCell(config=RunConfig(num_threads=3))
    attempts = run([*make_cells(4), own], tmp_path / "scratch", jobs=3)
    assert {attempt.cell.id for attempt in attempts} == {cell.id for cell in [*make_cells(4), own]}
    for attempt in attempts:
        environment = attempt.record.environment
        assert environment["measured_alone"] is False
        assert environment["num_threads"] == (2 if attempt.cell != own else None)


def test_side_by_side_cells_really_overlap_and_never_more_of_them(stand_in, tmp_path):
    stand_in.does(0.5)
    most, done = [], threading.Event()

    def watch():
        while not done.wait(0.02):
            children = psutil.Process().children()
            most.append(sum("mnistbench.train" in " ".join(_command(c)) for c in children))

    watching = threading.Thread(target=watch)
    watching.start()
    run(make_cells(5), tmp_path / "scratch", jobs=2)
    done.set()
    watching.join()
    assert max(most) == 2


def _command(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_more_jobs_than_cores_still_have_a_thread_each(stand_in, tmp_path):
    (attempt,) = run(make_cells(1), tmp_path / "scratch", jobs=usable_cores() + 1)
    assert attempt.record.environment["num_threads"] == 1


@pytest.mark.parametrize(
    ("does", "error", "refused"),
    [
        ((0, 2, "mnistbench: error: lr: too high"), "lr: too high", True),
        ((0, 1, "out of luck"), "out of luck", False),
        ((0, 3, ""), "the run left no record (exit status 3)", False),
        ((0, -9, "warning"), "the run was ended by signal 9", False),
    ],
)
def test_a_run_without_a_record_says_why(stand_in, tmp_path, does, error, refused):
    stand_in.does(but={0: does})
    failed, other = run(make_cells(2), tmp_path / "scratch")
    assert (failed.record, failed.error, failed.refused) == (None, error, refused)
    assert other.record.seed == 1


@pytest.mark.parametrize(
    ("sent", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_signal_ends_what_runs(stand_in, tmp_path, sent, raised, jobs):
    stand_in.does(600)

    def stop():
        while len(stand_in.started()) < jobs:
            time.sleep(0.01)
        os.kill(os.getpid(), sent)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(raised):
        run(make_cells(4), tmp_path / "scratch", jobs=jobs)
    assert len(stand_in.started()) == jobs
    assert not any(psutil.pid_exists(pid) for pid, _ in stand_in.started())


def test_leaving_early_ends_what_runs(stand_in, tmp_path):
    stand_in.does(600, but={0: (0, 0, "")})
    attempts = LocalExecutor(jobs=2).run(make_cells(2), folder=tmp_path / "scratch")
    assert next(attempts).cell.config.seed == 0
    attempts.close()
    assert not any(psutil.pid_exists(pid) for pid, _ in stand_in.started())


def test_a_scratch_folder_that_cannot_be_made_is_refused(stand_in, tmp_path):
    (tmp_path / "scratch").write_text("")
    with pytest.raises(InputError, match=r"cell\.yaml: cannot be written"):
        run(make_cells(1), tmp_path / "scratch")
