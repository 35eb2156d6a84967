"""What is seen of a sweep's folder from outside, on folders as sweeps leave them."""

import errno
import fcntl
import io
import json
from pathlib import Path

import pytest

from mnistbench.launch import sweep_sight, watching
from mnistbench.launch.sweep_folder import PlannedCell, SweepPlan
from mnistbench.launch.sweep_sight import Watcher
from mnistbench.launch.watching import counts_line, watch
from mnistbench.output.tables import run_lines
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import save_record
from tests.made_records import make_record


class Folder:
    """A sweep's folder of so many cells, in any state."""

    def __init__(self, path, cells):
        self.path = path
        path.mkdir()
        planned = [PlannedCell(id=f"cell-{k}", values={}, num_processes=1) for k in range(cells)]
        (path / "sweep.json").write_text(json.dumps(SweepPlan(cells=planned).model_dump()))
        (path / ".lock").touch()

    def done(self, number):
        record = make_record(number, created_at=f"2026-01-01T00:{number:02}:00+00:00")
        save_record(record, self.path / "cells" / f"cell-{number}")

    def tried(self, number, name="0a"):
        folder = self.path / ".running" / f"cell-{number}-{name}"
        folder.mkdir(parents=True)
        return folder


@pytest.fixture
def sweep(tmp_path):
    return Folder(tmp_path / "sweep", 4)


def test_cells_are_done_running_failed_or_left(sweep):
    watcher = Watcher(sweep.path)
    sweep.done(0)
    attempt = sweep.tried(1)
    sight = watcher.look()
    assert counts_line(sight) == "1 of 4 cells done, 1 running, 2 left, about 30 s to go"
    assert (sight.running, sight.failed, sight.has_ended) == (("cell-1",), (), False)
    attempt.rmdir()
    sweep.tried(2)
    sight = watcher.look()
    assert counts_line(sight, estimate=False) == "1 of 4 cells done, 1 running, 1 failed, 1 left"
    sweep.tried(1, "0b")  # a second try
    assert watcher.look().failed == ()
    for number in (1, 2, 3):
        sweep.done(number)
    sight = watcher.look()
    assert counts_line(sight) == "4 of 4 cells done"
    assert sight.is_complete
    assert sight.has_ended
    assert [record.seed for record in sight.records] == [0, 1, 2, 3]


def test_a_record_that_cannot_be_read_is_counted_and_named(sweep, tmp_path):
    sweep.done(0)
    sweep.done(1)
    (sweep.path / "cells" / "cell-1" / "record.json").write_text("{")
    watcher = Watcher(sweep.path)
    for _ in range(2):  # what was read once is not read again
        sight = watcher.look()
        line = "1 of 4 cells done, 1 unreadable, 2 left"
        assert counts_line(sight, estimate=False) == line
    out = io.StringIO()
    assert not watch(sweep.path, table=run_lines, every_s=0.1, out=out)
    assert "1 of 2 records could not be read and is left out: " in out.getvalue()
    out = io.StringIO()
    assert watch(sweep.path / "cells", table=run_lines, every_s=0.1, out=out)
    assert out.getvalue().startswith("1 run, 1 unreadable\n")
    assert "cell-1/record.json: not a record: " in out.getvalue()
    sweep.done(2)
    (sweep.path / "cells" / "cell-1" / "record.json").unlink()  # and made again
    sweep.done(1)
    assert watcher.look().unreadable == ()


def test_cells_side_by_side_are_as_much_sooner_done(sweep):
    sweep.done(0)
    sweep.tried(1)
    sweep.tried(2)
    assert Watcher(sweep.path).look().left_s == 20.0


def test_a_sweep_that_ends_during_a_look_is_not_taken_for_one_that_stopped(sweep, monkeypatch):
    for number in range(3):
        sweep.done(number)
    lock = (sweep.path / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    plain = Watcher._records

    def ends_meanwhile(watcher, paths):
        found = plain(watcher, paths)
        if not lock.closed:
            sweep.done(3)
            lock.close()
        return found

    monkeypatch.setattr(Watcher, "_records", ends_meanwhile)
    watcher = Watcher(sweep.path)
    assert not watcher.look().has_ended
    assert watcher.look().is_complete


def test_a_lock_that_is_held_is_a_sweep_that_runs(sweep):
    watcher = Watcher(sweep.path)
    assert watcher.look().alive is False
    with (sweep.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert watcher.look().alive is True
    sweep.tried(0)
    assert watcher.look().alive is None  # killed, or on another machine


def test_half_a_record_is_no_result(sweep):
    folder = sweep.path / "cells" / "cell-0"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{")
    assert Watcher(sweep.path).look().records == ()


def test_a_folder_of_runs_has_no_cells(tmp_path):
    watcher = Watcher(tmp_path)
    assert counts_line(watcher.look()) == "0 runs"
    save_record(make_record(), tmp_path / "a")
    assert counts_line(watcher.look()) == "1 run"


def test_what_is_no_folder_or_no_plan_is_one_line(sweep, tmp_path):
    with pytest.raises(InputError, match="missing: is no folder"):
        Watcher(tmp_path / "missing")
    (sweep.path / "sweep.json").write_text("[]")
    with pytest.raises(InputError, match=r"sweep\.json: not a sweep"):
        Watcher(sweep.path).look()


def test_without_a_terminal_a_line_tells_of_each_change(sweep, monkeypatch):
    steps = [lambda: sweep.done(1), lambda: None, lambda: [sweep.done(2), sweep.done(3)]]
    monkeypatch.setattr(watching.time, "sleep", lambda _s: steps.pop(0)())
    sweep.done(0)
    sweep.tried(1)
    out = io.StringIO()
    assert watch(sweep.path, table=run_lines, every_s=2.0, out=out)
    lines = out.getvalue().splitlines()
    assert lines[:3] == [
        "1 of 4 cells done, 1 running, 2 left, about 30 s to go",
        "2 of 4 cells done, 2 left, about 21 s to go",
        "4 of 4 cells done",
    ]
    assert lines[3].startswith("settings: dataset mnist (local), ")
    assert "samples/s" in lines[5]
    assert "\x1b" not in out.getvalue()


def test_a_sweep_that_was_ended_is_not_waited_for(sweep):
    sweep.done(0)
    out = io.StringIO()
    assert not watch(sweep.path, table=run_lines, every_s=2.0, out=out)
    assert out.getvalue().splitlines()[-1] == (
        "no sweep runs here, and 3 cells are left; its command goes on"
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_view_is_drawn_in_place(sweep, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("LINES", "12")
    steps = [lambda: [sweep.done(number) for number in range(1, 4)]]
    monkeypatch.setattr(watching.time, "sleep", lambda _s: steps.pop(0)())
    sweep.done(0)
    sweep.tried(1)
    out = Terminal()
    assert watch(sweep.path, table=run_lines, every_s=2.0, out=out)
    text = out.getvalue()
    assert "\x1b[?25l" in text  # the cursor is hidden, and comes back
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "running cell-1" in text
    assert "4 of 4 cells done" in text


def test_a_run_in_a_folder_that_may_not_be_entered_is_told(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()

    def search(_):
        monkeypatch.setattr(Path, "stat", refuse)
        return [tmp_path / "locked" / "record.json"]

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(sweep_sight, "search", search)
    sight = Watcher(tmp_path).look()
    monkeypatch.undo()
    (why,) = sight.unreadable
    assert why.endswith("locked/record.json: cannot be read (Permission denied)")
