"""Seconds per step of cells that ran side by side, and how many of them are the fastest."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from mnistbench.launch.cells import Attempt, attempt_folder
from mnistbench.launch.own_cells import RunCell
from mnistbench.launch.script_cells import script_cells
from mnistbench.launch.step_windows import Here, best_jobs, measure_alone
from mnistbench.launch.sweep_folder import SweepFolder
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import Throughput
from mnistbench.schema.store import save_record
from tests.launch.sweep_parts import record_of

TOLD = (
    "seconds per step of {} configurations are measured alone, in turn: 6 to 12 short runs of each"
)


class Machine:
    """Runs cells at `step_s` by their learning rates, slower by as much as each round before."""

    def __init__(self, step_s, *, drift=1.0, share=lambda _: 1.0, threads=2):
        self.step_s, self.drift, self.share, self.threads = step_s, drift, share, threads
        self.ran, self.told = [], []

    def __call__(self, jobs):
        self.jobs = jobs
        return self

    def run(self, cells, *, folder):
        for cell in cells:
            config, step_s = cell.config, self.step_s[cell.config.lr]
            self.ran.append((config.lr, config.max_steps))
            if step_s is None:
                yield Attempt(cell, None, "no")
                continue
            step_s *= self.drift ** ((len(self.ran) - 1) // len(self.step_s)) * self.share(
                self.jobs
            )
            steps = config.max_steps or 100
            record = record_of(
                cell,
                num_steps=steps,
                phases_s={"train": step_s * steps},
                throughput=Throughput(samples_per_s=64 / step_s),
                environment={"measured_alone": self.jobs == 1, "num_threads": self.threads},
            )
            save_record(record, attempt_folder(folder, cell) / record.run_id)
            yield Attempt(cell, record)


def cells_of(lrs=(0.1, 0.2), seeds=(0, 1), **settings):
    settings = {"target_accuracy": 0.97} | settings
    return [RunCell(config=RunConfig(lr=lr, seed=s, **settings)) for lr in lrs for s in seeds]


@pytest.fixture
def folder(tmp_path):
    found = SweepFolder(tmp_path)
    with found.opened([], grid={}):
        yield found


def done(folder, cells, *, beside=True, **changes):
    """Have `cells` in `folder` as a later version's sweep side by side leaves them."""
    environment = {"measured_alone": not beside, "num_threads": 1}
    for cell in cells:
        path = save_record(
            record_of(cell, environment=environment, **changes), folder.record_path(cell).parent
        )
        path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1}))


def texts(folder, cells):
    return [folder.record_path(cell).read_text() for cell in cells]


def test_all_configurations_are_measured_in_turn_and_seeds_share_it(folder):
    cells, machine = cells_of(), Machine({0.1: 0.01, 0.2: 0.02})
    done(folder, cells)
    before = [json.loads(text) for text in texts(folder, cells)]
    measure_alone(cells, Here(folder, machine, machine.told.append))
    assert [lr for lr, _ in machine.ran] == [0.1, 0.2, 0.2, 0.1] * 3  # order reversed each round
    assert {steps for _, steps in machine.ran} == {2}  # half a second, at 0.2 s a step beside
    records = [folder.load(cell) for cell in cells]
    for record, step_s in zip(records, (0.01, 0.01, 0.02, 0.02), strict=True):
        assert record.window_step_s == pytest.approx([step_s] * 6)
        assert record.alone_threads == 2
    assert len({record.alone_at for record in records}) == 1
    after = [json.loads(text) for text in texts(folder, cells)]
    keys = ("alone_step_s", "alone_at", "alone_threads")
    assert [{k: v for k, v in one.items() if k not in keys} for one in after] == [
        {k: v for k, v in one.items() if k not in keys} for one in before
    ]
    assert machine.told == [TOLD.format(2), "seconds per step are known to ±0.0 % (6 windows)"]
    assert [*folder.running.iterdir()] == []


def test_what_was_measured_is_not_again_until_a_cell_is_new(folder):
    cells, machine = cells_of(), Machine({0.1: 0.01, 0.2: 0.02})
    here = Here(folder, machine, machine.told.append)
    done(folder, cells)
    measure_alone(cells, here)
    texts_before = texts(folder, cells)
    measure_alone(cells, here)
    assert len(machine.ran) == 12
    assert texts(folder, cells) == texts_before
    more = cells_of(seeds=(0, 1, 2))
    done(folder, more[2::3])
    measure_alone(more, here)
    assert len(machine.ran) == 24
    assert len({folder.load(cell).alone_at for cell in more}) == 1


def test_windows_are_added_while_they_are_apart(folder):
    cells, machine = cells_of(), Machine({0.1: 0.01, 0.2: 0.02}, drift=1.1)
    done(folder, cells)
    measure_alone(cells, Here(folder, machine, machine.told.append))
    windows = [folder.load(cell).window_step_s for cell in cells]
    assert {len(its) for its in windows} == {12}
    assert all(b > a for a, b in pairwise(windows[0]))


@pytest.mark.parametrize(
    ("changes", "settings"),
    [({"beside": False}, {}), ({"target": None}, {"target_accuracy": None})],
)
def test_runs_alone_and_runs_without_a_target_need_no_windows(folder, changes, settings):
    cells, machine = cells_of(**settings), Machine({0.1: 0.01, 0.2: 0.02})
    done(folder, cells, **changes)
    measure_alone(cells, Here(folder, machine, machine.told.append))
    assert (machine.ran, machine.told) == ([], [])


def test_what_cannot_be_timed_is_told_and_left_as_it_was(folder):
    cells, machine = cells_of(), Machine({0.1: None, 0.2: 0.02})
    done(folder, cells)
    before = texts(folder, cells)
    measure_alone(cells, Here(folder, machine, machine.told.append))
    assert texts(folder, cells)[:2] == before[:2]
    assert folder.load(cells[2]).window_step_s
    assert "its steps could not be timed; its times stay marked" in machine.told[1]


def test_runs_of_another_machine_keep_their_marks(folder):
    cells, machine = cells_of(), Machine({0.1: 0.01, 0.2: 0.02})
    done(folder, cells)
    path = folder.record_path(cells[0])
    path.write_text(path.read_text().replace('"num_threads"', '"cpu_name": "other", "num_threads"'))
    measure_alone(cells, Here(folder, machine, machine.told.append))
    assert [bool(folder.load(cell).window_step_s) for cell in cells] == [False, True, True, True]


def test_a_window_trains_the_same_step_without_what_is_beside_it():
    config = RunConfig(
        lr=0.3, target_accuracy=0.9, stop_at_target=True, diagnose=True, profile=("torch",), seed=3
    )
    cell = RunCell(config=config, code="nets 0", num_processes=2)
    short = cell.window(7)
    assert replace(short, config=config) == cell
    changed = {k for k, v in short.config if v != getattr(config, k)}
    assert changed == {
        *("max_steps", "eval_every_steps", "seed", "eval_split"),
        *("target_accuracy", "stop_at_target", "diagnose", "profile"),
    }
    assert RunConfig(**short.config.model_dump()) == short.config


@pytest.mark.parametrize(
    ("share", "taken"),
    [
        (lambda jobs: 1.0, 4),  # each of four is as fast as one alone
        (lambda jobs: {1: 1.0, 2: 1.1, 4: 3.0}[jobs], 2),
        (lambda jobs: 2.0 * jobs - 1, 1),
        (lambda jobs: {1: 1.0, 2: 1.7, 4: 3.3}[jobs], 1),  # 1.21 times do not pay
    ],
)
def test_the_fastest_number_of_jobs_is_taken(folder, monkeypatch, share, taken):
    monkeypatch.setattr("mnistbench.launch.step_windows.usable_cores", lambda: 4)
    machine = Machine({0.1: 0.01}, share=share)
    passing = []
    here = Here(folder, machine, machine.told.append, passing.append)
    assert best_jobs(cells_of((0.1,), range(9)), here) == taken
    assert passing == ["trying how many cells side by side are the fastest: 1, 2, 4"]
    assert machine.ran == [(0.1, 10)] + [(0.1, 200)] * 7  # one, two and four side by side
    assert machine.told[0].startswith(f"--jobs auto takes {taken}: samples/s in all are 6,4")
    pays = {jobs: jobs / share(jobs) for jobs in (2, 4)}
    is_less = machine.told[0].endswith(": less than 1.25 times those with 1")
    assert is_less == (1 < max(pays.values()) < 1.25)


def test_jobs_are_no_more_than_cells_and_a_sweep_that_is_done_needs_no_trial(folder):
    machine = Machine({0.1: 0.01})
    here = Here(folder, machine, machine.told.append)
    cells = cells_of((0.1,), (0,))
    assert best_jobs(cells, here) == 1
    more = cells_of((0.1,), (0, 1, 2))
    done(folder, more[1:])
    assert best_jobs(more, here) == 1
    done(folder, cells)
    assert (best_jobs(cells, here), machine.ran) == (1, [])


def test_scripts_have_no_windows(folder):
    cells, told = script_cells("python -c {lr}", {"lr": "1,2"}), []
    assert best_jobs(cells, Here(folder, None, told.append)) == 1
    assert told == ["--jobs auto takes 1: there is nothing to try"]
    measure_alone(cells, Here(folder, None, None))


def test_what_a_killed_sweep_left_of_its_windows_is_removed_and_no_cell(tmp_path):
    folder, cells = SweepFolder(tmp_path), cells_of()
    save_record(record_of(cells[0]), folder.running / "scratch-0123abcd" / cells[0].id / "run-0")
    with folder.opened(cells, grid={}):
        assert [*folder.running.iterdir()] == []
    assert folder.load(cells[0]) is None
