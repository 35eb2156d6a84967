"""Several machines: two launchers that meet, processes that are started again, a real link between.

Machines are launchers on this one, which meet over loopback; with MNISTBENCH_NETWORK_TESTS=1, and
as root, two network namespaces with a cable between them.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import torch

from bench.network_link import network_link, why_no_links
from mnistbench.engine.run_seeds import train
from mnistbench.schema.store import find_records, load_record
from tests.processes import SMALL_FLAGS, Process, free_port

pytestmark = pytest.mark.usefixtures("whole_test_set")

CONFIGS = Path(__file__).parents[2] / "launch_configs"
TIMEOUT_S = 120


def torchrun(rank, *, port, address="127.0.0.1"):
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"),
        *("--node-rank", str(rank), "--nproc-per-node", "1"),
        *("--master-addr", address, "--master-port", str(port)),
        *("--rdzv-conf", f"timeout={TIMEOUT_S}", "-m", "mnistbench.train"),
    ]


def accelerate(rank, *, port, address="127.0.0.1"):
    return [
        *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
        *("--config_file", str(CONFIGS / "cpu_2.yaml"), "--num_machines", "2"),
        *("--machine_rank", str(rank), "--main_process_ip", address),
        *("--main_process_port", str(port), "--rdzv_conf", f"timeout={TIMEOUT_S}"),
        *("-m", "mnistbench.train"),
    ]


def cpu_environment(**more):
    return os.environ | {"ACCELERATE_USE_CPU": "true"} | more


def run_all(commands, environment, folder):
    """Run `commands` side by side to their ends, and read the records they left."""
    with ExitStack() as stack:
        machines = [
            stack.enter_context(
                Process(
                    *(*command, *SMALL_FLAGS, "--output-dir", str(folder / "runs")),
                    environment=environment,
                    folder=folder,
                )
            )
            for command in commands
        ]
        ended = [machine.end(TIMEOUT_S) for machine in machines]
    assert [end.returncode for end in ended] == [0] * len(ended), [end.stderr for end in ended]
    return ended, [load_record(path) for path in find_records([folder / "runs"])]


def check_curve(record, alone):
    torch.testing.assert_close(
        torch.tensor([point.loss for point in record.train_points]),
        torch.tensor([point.loss for point in alone.train_points]),
        rtol=1e-4,
        atol=1e-5,
    )
    ours, theirs = (
        [(point.step, point.split, point.num_samples) for point in run.eval_points]
        for run in (record, alone)
    )
    assert ours == theirs


@pytest.mark.processes
@pytest.mark.parametrize("launcher", [torchrun, accelerate])
def test_two_machines_are_one_run(launcher, tmp_path, small_config):
    port = free_port()
    commands = [launcher(rank, port=port) for rank in range(2)]
    ended, (record,) = run_all(commands, cpu_environment(), tmp_path)
    assert record.environment["num_processes"] == 2
    assert record.environment["num_machines"] == 2
    assert record.environment["launcher"] == launcher.__name__
    assert [end.stdout.count("record: ") for end in ended] == [1, 0]
    check_curve(record, train(small_config())[0])


@pytest.mark.processes
def test_a_killed_process_is_started_again_and_the_run_completes(tmp_path):
    """By `torchrun_elastic.sh`: ``--max-restarts`` starts all processes again."""
    environment = cpu_environment(
        HEAD="127.0.0.1",
        PORT=str(free_port()),
        NODES="1:1",
        PROCESSES="2",
        RESTARTS="1",
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )
    command = [
        *("bash", str(CONFIGS / "torchrun_elastic.sh"), *SMALL_FLAGS),
        *("--num-epochs", "80", "--output-dir", str(tmp_path / "runs")),
    ]
    with Process(*command, environment=environment, folder=tmp_path) as launcher:
        deadline = time.monotonic() + TIMEOUT_S
        while "training simple-cnn" not in launcher.stderr_file.read_text():
            assert launcher.child.poll() is None, launcher.stderr_file.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        worker(launcher.child.pid, rank="1").send_signal(signal.SIGKILL)
        ended = launcher.end(TIMEOUT_S)
    assert ended.returncode == 0, ended.stderr
    records = [load_record(path) for path in find_records([tmp_path / "runs"])]
    by_life = {record.environment["restarts"]: record for record in records}
    assert by_life[1].status == "completed"
    assert by_life[1].num_steps == 400
    assert by_life[0].status in {"failed", "interrupted"}


def worker(launcher_pid, *, rank):
    (found,) = [
        child
        for child in psutil.Process(launcher_pid).children(recursive=True)
        if child.environ().get("RANK") == rank
    ]
    return found


@pytest.mark.skipif(
    os.environ.get("MNISTBENCH_NETWORK_TESTS") != "1",
    reason="opt-in: set MNISTBENCH_NETWORK_TESTS=1 (makes network namespaces, needs root)",
)
def test_two_machines_train_over_a_slow_link(tmp_path, small_config):
    reason = why_no_links()
    if reason:
        pytest.skip(reason)
    megabits = 20
    with network_link(megabits_per_s=megabits) as link:
        commands = [
            [*link.inside(rank), *torchrun(rank, port=29_500, address=link.address)]
            for rank in range(2)
        ]
        _, (record,) = run_all(commands, cpu_environment(**link.variables), tmp_path)
    assert record.environment["num_machines"] == 2
    check_curve(record, train(small_config())[0])
    # what the run measured of its link is what the link was made to be
    assert 0.5 < record.link.bandwidth_bytes_per_s * 8 / (megabits * 1e6) < 1.5


@pytest.mark.skipif(os.environ.get("MNISTBENCH_NETWORK_TESTS") != "1", reason="opt-in, as above")
def test_nothing_of_a_link_is_left_behind():
    reason = why_no_links()
    if reason:
        pytest.skip(reason)

    def namespaces():
        return subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout

    def fail_inside():
        with network_link(megabits_per_s=10) as link:
            assert link.name in namespaces()
            raise ZeroDivisionError

    before = namespaces()
    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert namespaces() == before
