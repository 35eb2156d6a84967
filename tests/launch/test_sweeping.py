"""A sweep: what is tried, tried again, skipped and reported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.launch.own_cells import RunCell
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.launch.sweep_progress import Progress, names, time_left_s
from mnistbench.launch.sweeping import run_sweep
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from tests.launch.sweep_parts import Scripted, make_cells


@pytest.fixture
def sweep(tmp_path):
    """Sweeps a folder with a scripted executor; gives it, the failures and the lines told."""

    def run(cells, script=None, *, retries=1):
        executor, told = Scripted(script), []
        folder = SweepFolder(tmp_path / "sweep")
        progress = Progress(cells, jobs=1, tell=told.append)
        with folder.opened(cells, grid={}):
            failures = run_sweep(
                cells, folder=folder, executor=executor, retries=retries, progress=progress
            )
        assert executor.closed
        return executor, failures, told

    run.folder = SweepFolder(tmp_path / "sweep")
    return run


def done(sweep, cells):
    return [cell.config.seed for cell in cells if sweep.folder.load(cell)]


def test_every_cell_is_run_once_and_told(sweep):
    cells = make_cells(3)
    executor, failures, told = sweep(cells)
    assert executor.tried == done(sweep, cells) == [0, 1, 2]
    assert failures == []
    assert told[0] == "running 3 of 3 cells; each prints a line when it ends"
    assert told[1].startswith("1 of 3 done: seed 0: 98.00 % on test, 10.0 s; about 0 s")
    assert told[3] == "3 of 3 done: seed 2: 98.00 % on test, 12.0 s"


def test_cells_are_told_by_what_tells_them_apart():
    cells = [
        RunCell(config=RunConfig(lr=lr, augment=augment), num_processes=processes)
        for lr, augment, processes in [(0.1, (), 1), (0.1, ("shift", "rotate"), 2)]
    ]
    assert list(names(cells).values()) == [
        "augment none, processes 1",
        "augment shift+rotate, processes 2",
    ]


def test_what_is_done_is_not_run_again(sweep):
    cells = make_cells(4)
    sweep(cells[:2])
    executor, _, told = sweep(cells)
    assert executor.tried == [2, 3]
    assert told[0] == "2 of 4 cells were done before"
    assert told[-1].startswith("4 of 4 done")
    assert sweep(cells)[0].tried == []


def test_a_result_that_cannot_be_read_is_a_failure_and_the_others_run(sweep):
    cells = make_cells(3)
    sweep(cells[:1])
    path = sweep.folder.record_path(cells[0])
    path.write_text("{")
    executor, failures, told = sweep(cells)
    assert executor.tried == [1, 2]
    ((cell, error),) = failures
    assert cell == cells[0]
    assert error.startswith(f"{path}: not a record: ")
    assert error.endswith("; remove its folder")
    assert told[0] == f"seed 0 FAILED: {error}"
    assert told[-1].startswith("2 of 3 done: seed 2: ")


def test_a_run_that_diverged_is_a_result(sweep):
    cells = make_cells(1)
    executor, failures, told = sweep(cells, {0: ["diverged"]})
    assert (executor.tried, failures) == ([0], [])
    assert "simple-cnn-seed-0: diverged" in told[1]


@pytest.mark.parametrize("comes_to", ["it broke", "failed", "interrupted"])
def test_a_failed_cell_is_tried_again_after_the_others(sweep, comes_to):
    cells = make_cells(3)
    executor, failures, told = sweep(cells, {0: [comes_to]})
    assert executor.tried == [0, 1, 2, 0]
    assert failures == []
    assert done(sweep, cells) == [0, 1, 2]
    assert "seed 0 failed and will be tried again: " in told[1]


def test_a_cell_that_keeps_failing_is_reported_and_the_others_run(sweep):
    cells = make_cells(3)
    executor, failures, told = sweep(cells, {1: ["one", "two", "three"]}, retries=2)
    assert executor.tried == [0, 1, 2, 1, 1]
    assert failures == [(cells[1], "three")]
    assert done(sweep, cells) == [0, 2]
    assert told[-1] == "2 of 3 done: seed 1 FAILED: three"
    assert sweep(cells)[0].tried == [1]


def test_refused_input_is_not_tried_again(sweep):
    executor, failures, _ = sweep(make_cells(2), {0: ["refused"]}, retries=5)
    assert executor.tried == [0, 1]
    assert [error for _, error in failures] == ["refused"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("no such cluster")])
def test_what_ends_a_sweep_leaves_what_was_done(sweep, error):
    cells = make_cells(3)
    with pytest.raises(type(error)):
        sweep(cells, {1: [error]})
    assert done(sweep, cells) == [0]
    executor, _, _ = sweep(cells)
    assert executor.tried == [1, 2]
    assert done(sweep, cells) == [0, 1, 2]


@given(
    duration=st.floats(0.1, 100),
    ended=st.integers(1, 50),
    left=st.integers(0, 50),
    jobs=st.integers(1, 8),
)
def test_time_left_is_exact_where_cells_take_equal_times(duration, ended, left, jobs):
    elapsed = duration * -(-ended // jobs)  # of waves of `jobs` cells
    expected = duration * -(-left // jobs)
    found = time_left_s(elapsed, num_ended=ended, num_left=left, jobs=jobs)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(10, "about 10 s left"), (150, "about 2 min 30 s left"), (3900, "about 1 h 5 min left")],
)
def test_progress_says_how_long(monkeypatch, seconds, says):
    clock = iter([0.0, seconds])
    monkeypatch.setattr("mnistbench.launch.sweep_progress.monotonic", lambda: next(clock))
    told = []
    cells = make_cells(2)
    Progress(cells, jobs=1, tell=told.append).failed(cells[0], "broken")
    assert told == [f"0 of 2 done: seed 0 FAILED: broken; {says}"]
