"""Sweeps by Ray for real: a node that is killed, a sweep that is stopped, and no Ray at all."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from tempfile import TemporaryDirectory

import psutil
import pytest

from mnistbench.launch import ray_executor
from mnistbench.launch.own_cells import RunCell
from mnistbench.launch.ray_executor import RayExecutor
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import find_records, load_record
from tests.conftest import SMALL

WAIT_S = 90
CELL = RunCell(config=RunConfig())


@pytest.fixture
def needs_ray(monkeypatch):
    pytest.importorskip("ray", reason='needs Ray: pip install "mnistbench[ray]"')
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    # pytest's own folders are too long for the sockets
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.setenv("TMPDIR", folder)  # a killed worker cannot tidy up
        monkeypatch.setenv("HOME", folder)  # where Ray keeps the token of a cluster
        yield


@pytest.fixture
def cluster(needs_ray):
    """A Ray of two nodes with a core each, whose processes end with the test."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 2**27, "include_dashboard": False}
    quick = {"health_check_period_ms": 1000, "health_check_failure_threshold": 2}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"_system_config": quick})
    try:
        cluster.add_node(num_cpus=1, object_store_memory=2**27)
        cluster.wait_for_nodes(timeout=WAIT_S)
        yield cluster
    finally:
        started = [p for n in cluster.list_all_nodes() for p in processes_of(n)]
        cluster.shutdown()
        psutil.wait_procs([p for p in started if p.is_running()], timeout=WAIT_S)


def processes_of(node):
    """What a node of Ray is made of, and all that they started."""
    own = [info.process.pid for infos in node.all_processes.values() for info in infos]
    return [p for pid in own if psutil.pid_exists(pid) for p in family(pid)]


def family(pid):
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def with_argument(argument, processes):
    """Those of `processes` that still run and were started with `argument`."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            found += [process] if any(argument in part for part in process.cmdline()) else []
    return found


def wait_until(asked):
    patience = time.monotonic() + WAIT_S
    while not (answer := asked()):
        assert time.monotonic() < patience
        time.sleep(0.1)
    return answer


@pytest.fixture
def start_sweep(tmp_path):
    """Starts a sweep by Ray over two rates and as many seeds, of a model that lies beside it."""
    started = []
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n\ndef flat(width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.Linear(width, 10))\n"
    )

    def start(*flags):
        values = [(f"--{key.replace('_', '-')}", str(value)) for key, value in SMALL.items()]
        command = [
            *(sys.executable, "-m", "mnistbench", "sweep", "--executor", "ray"),
            *("--output-dir", str(tmp_path / "sweep"), "--lr", "0.1,0.2", "--seed", "0..1"),
            *("--model", "nets:flat", "--model-args", "width=4"),
            *(part for pair in values for part in pair),
            *flags,
        ]
        log = (tmp_path / "log").open("w")
        with log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.processes
def test_cells_of_a_killed_node_are_run_on_another(cluster, start_sweep, tmp_path):
    sweep = start_sweep("--ray-address", cluster.address)
    (worker,) = cluster.worker_nodes
    lost = wait_until(lambda: with_argument("mnistbench.train", processes_of(worker)))
    for process in processes_of(worker):
        if process.pid not in {run.pid for run in lost}:  # these end by themselves
            process.kill()
    assert sweep.wait(WAIT_S) == 0, (tmp_path / "log").read_text()
    assert not psutil.wait_procs(lost, timeout=WAIT_S)[1]
    records = [load_record(path) for path in find_records([tmp_path / "sweep"])]
    cells = Counter((record.config["lr"], record.seed) for record in records)
    assert cells == Counter([(lr, seed) for lr in (0.1, 0.2) for seed in (0, 1)])
    assert {record.status for record in records} == {"completed"}
    assert {record.environment["process"] for record in records} == {"warm"}
    assert False in {record.environment["measured_alone"] for record in records}
    assert len(list((tmp_path / "sweep" / "cells").iterdir())) == 4


@pytest.mark.processes
def test_a_local_ray_ends_with_its_sweep_and_its_cells_have_the_machine(
    needs_ray, start_sweep, tmp_path
):
    sweep = start_sweep("--num-threads", str(os.cpu_count()))
    log = tmp_path / "log"
    wait_until(lambda: "1 of 4 done" in log.read_text())
    started = family(sweep.pid)
    (gcs,) = with_argument("/gcs_server", started)
    assert gcs.environ()["RAY_USAGE_STATS_ENABLED"] == "0"  # Ray tells nobody that it is used
    runs = with_argument("mnistbench.train", started)
    assert len(runs) <= 2, "a run and the process that it is forked from"
    sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(WAIT_S) == 143
    assert not psutil.wait_procs(started, timeout=WAIT_S)[1]
    (path,) = find_records([tmp_path / "sweep"])
    assert load_record(path).environment["measured_alone"] is True
    assert "the same command goes on" in log.read_text()


@pytest.mark.processes
def test_an_address_that_does_not_answer_is_refused_in_bounded_time(needs_ray, monkeypatch):
    monkeypatch.setattr(ray_executor, "_ANSWER_S", 3.0)
    executor = RayExecutor(address="127.0.0.1:1", jobs=None)
    with pytest.raises(InputError, match=r"no Ray answers at 127\.0\.0\.1:1 within 3 s; start"):
        next(executor.run([CELL], folder=None))
    executor.close()


@pytest.mark.processes
def test_an_address_that_is_none_is_refused_in_rays_words(needs_ray):
    executor = RayExecutor(address="nonsense", jobs=None)
    with pytest.raises(InputError, match=r"ray_address: nonsense: .*Invalid address"):
        next(executor.run([CELL], folder=None))


def test_no_ray_is_started_for_nothing(needs_ray):
    executor = RayExecutor(address="nonsense", jobs=None)
    assert list(executor.run([], folder=None)) == []
    executor.close()


def test_a_missing_ray_is_one_line_with_the_mend(monkeypatch):
    monkeypatch.setattr(ray_executor, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'Ray is not installed; pip install "mnistbench\[ray\]"'):
        RayExecutor(address=None, jobs=None)


@pytest.mark.parametrize(("said", "is_told"), [(None, "0"), ("1", "1")])
def test_ray_tells_nobody_that_it_is_used_unless_the_user_says_so(
    needs_ray, monkeypatch, said, is_told
):
    def start(address):
        raise InputError("started")

    monkeypatch.setattr(ray_executor, "_start", start)
    if said is None:
        monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")  # which the fixture has set
    else:
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", said)
    with pytest.raises(InputError, match="started"):
        next(RayExecutor(address=None, jobs=None).run([CELL], folder=None))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == is_told
