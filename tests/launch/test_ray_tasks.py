"""What a cell asks of a cluster, and what it hears from a worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench import __version__
from mnistbench.launch import ray_tasks
from mnistbench.launch.cells import Attempt
from mnistbench.launch.children import Child
from mnistbench.launch.own_cells import RunCell
from mnistbench.launch.ray_tasks import (
    Node,
    Request,
    nodes_of,
    request_of,
    run_on_worker,
    told_workers,
)
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError


def nodes(*sizes):
    return [
        Node(id=str(i), address=str(i), num_cpus=cpus, num_gpus=gpus)
        for i, (cpus, gpus) in enumerate(sizes)
    ]


def cell(num_processes=1, num_threads=None):
    return RunCell(config=RunConfig(num_threads=num_threads), num_processes=num_processes)


@pytest.mark.parametrize(
    ("of_cell", "sizes", "jobs", "expected"),
    [
        (cell(), [(8, 0), (8, 0)], None, (8, 0)),  # a node to itself
        (cell(), [(8, 0), (4, 0)], None, (4, 0)),  # whichever it is
        (cell(num_threads=2), [(8, 0)], None, (2, 0)),
        (cell(num_processes=2, num_threads=3), [(8, 0)], None, (6, 0)),
        (cell(num_processes=4, num_threads=3), [(8, 0)], None, (8, 0)),
        (cell(), [(8, 0)], 2, (4, 0)),
        (cell(), [(8, 0), (8, 0)], 2, (8, 0)),
        (cell(), [(8, 0), (8, 0)], 3, (4, 0)),
        (cell(num_threads=1), [(8, 0)], 2, (1, 0)),
        (cell(num_threads=8), [(8, 0)], 3, (2, 0)),
        (cell(), [(2, 0)], 4, (0.5, 0)),
        (cell(), [(64, 8)], None, (8, 1)),
        (cell(num_processes=8), [(64, 8)], None, (64, 8)),
        (cell(num_processes=2, num_threads=4), [(64, 8)], None, (8, 2)),
        (cell(num_processes=2), [(8, 0), (64, 8), (16, 1)], None, (16, 2)),
    ],
)
def test_a_cell_asks_for_what_it_uses_and_no_more_than_its_share(of_cell, sizes, jobs, expected):
    assert request_of(of_cell, nodes(*sizes), jobs=jobs) == Request(*expected)


@given(
    st.lists(st.integers(1, 256), min_size=1, max_size=5),
    st.integers(1, 64),
    st.none() | st.integers(1, 64),
    st.none() | st.integers(1, 64),
)
def test_every_node_without_gpus_could_run_every_cell(cpus, num_processes, num_threads, jobs):
    of_cell = cell(num_processes, num_threads)
    found = request_of(of_cell, nodes(*((n, 0) for n in cpus)), jobs=jobs)
    assert 0 < found.num_cpus <= min(cpus)
    if jobs:  # as many fit as were asked for
        fitting = sum(int(n / found.num_cpus + 1e-9) for n in cpus)
        assert fitting >= jobs


def test_a_cell_that_fits_nowhere_is_refused_before_it_waits_for_ever():
    with pytest.raises(InputError, match=r"8 need as many GPUs on one node; the largest node .* 4"):
        request_of(cell(num_processes=8), nodes((32, 4), (8, 0)), jobs=None)
    with pytest.raises(InputError, match="no node that takes tasks"):
        request_of(cell(), [], jobs=None)


def test_dead_nodes_and_those_without_cores_take_nothing(monkeypatch):
    def listed(name, *, alive=True, **resources):
        return {"NodeID": name, "NodeManagerAddress": "h", "Alive": alive, "Resources": resources}

    entries = [listed("a", CPU=4.0, GPU=2.0), listed("b", alive=False, CPU=4.0), listed("c")]
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    assert nodes_of(entries) == [Node("a", "h", 4.0, 2.0)]
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert nodes_of(entries) == [Node("a", "h", 4.0, 0.0)]


def test_workers_are_told_where_the_data_lie(monkeypatch):
    monkeypatch.setenv("MNISTBENCH_DATA_DIR", "/data")
    monkeypatch.setenv("SECRET", "x")
    assert told_workers() == {"MNISTBENCH_DATA_DIR": "/data", "ACCELERATE_USE_CPU": "true"}


def test_a_worker_of_another_version_refuses():
    found = run_on_worker(
        cell(), request=Request(1.0, 0.0), told={}, version="9.9", work_dir="/gone"
    )
    assert found.record is None
    assert found.refused
    assert "not 9.9; install the same" in found.error


@pytest.mark.parametrize("is_here", [True, False])
def test_a_node_without_the_working_directory_says_so_of_what_it_refused(
    monkeypatch, tmp_path, is_here
):
    says = "model: there is no module nets"
    work_dirs = []

    def run(of_cell, *_, work_dir):
        work_dirs.append(work_dir)
        return Attempt(of_cell, None, says, refused=True)

    monkeypatch.setattr(ray_tasks, "_run", run)
    here = tmp_path if is_here else tmp_path / "gone"
    found = run_on_worker(
        cell(), request=Request(1.0, 0.0), told={}, version=__version__, work_dir=str(here)
    )
    assert work_dirs == [here]
    gone = "" if is_here else f"; {here}, where the sweep was started, is not on its node"
    assert found.error == f"{says}{gone}"


def test_a_worker_keeps_what_starts_its_runs_until_it_is_given_other_gpus(monkeypatch):
    closed = []

    def close(self):
        closed.append(self)

    monkeypatch.setattr(ray_tasks, "_preloaded", {})
    monkeypatch.setattr(ray_tasks.Preloaded, "close", close)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    first = ray_tasks._by_this_worker()
    assert ray_tasks._by_this_worker() is first
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    second = ray_tasks._by_this_worker()
    assert second is not first
    assert closed == [first]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_cell_that_is_to_be_fresh_is_no_fork(monkeypatch, tmp_path, fresh):
    def start(self, folder, *, start_child, **_):
        raise InputError("fresh" if start_child is Child else "warm")

    monkeypatch.setattr(ray_tasks, "_preloaded", {})
    monkeypatch.setattr(ray_tasks, "_has_the_machine", lambda request: True)
    monkeypatch.setattr(RunCell, "start", start)
    with pytest.raises(InputError, match="fresh" if fresh else "warm"):
        ray_tasks._run(cell(), Request(1.0, 0.0, fresh), tmp_path, work_dir=tmp_path)
