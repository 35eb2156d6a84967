"""Launches that cannot work: one line on each process, and an end in bounded time."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest
import torch

from mnistbench.engine.distributed import start_accelerator
from mnistbench.engine.process_loss import exchange_errors
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_batch
from mnistbench.schema.errors import InputError, ProcessLostError
from mnistbench.schema.store import find_records, load_record
from tests.processes import free_port, rendezvous, training

START_S = 40
"""Long enough for Python and torch to be imported on a machine with other things to do."""


@contextmanager
def silent_program(port):
    """Somebody else's, which listens there and never says a word."""
    with socket.create_server(("", port)):
        yield


@pytest.mark.processes
@pytest.mark.parametrize(
    ("variables", "flags", "wrong"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, [], "fp16 does not run on the CPU"),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, [], "fp8 does not run on the CPU"),
        (rendezvous(0, port=1), ["--global-batch-size", "63"], "use --global-batch-size 62 or 64"),
        (
            rendezvous(1, port=1) | {"LOCAL_RANK": "1", "MASTER_PORT": "none"},
            [],
            "MASTER_PORT: should be a whole number, 1 to 65535 (got 'none')",
        ),
        (
            rendezvous(0, port=1, num_processes=301),
            ["--global-batch-size", "300"],
            "300 samples cannot be shared equally by 301 processes; use --global-batch-size 301",
        ),
    ],
)
def test_bad_input_of_a_launch_is_one_line_and_status_2(variables, flags, wrong, tmp_path):
    with training(*flags, variables=variables, folder=tmp_path) as process:
        ended = process.end(START_S)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert wrong in ended.stderr
    assert ended.stdout == ""


@pytest.mark.processes
def test_a_process_alone_trains_whatever_others_left(tmp_path):
    left = rendezvous(0, port=free_port(), num_processes=1, address="no-such-host.invalid")
    mpi = {"OMPI_COMM_WORLD_LOCAL_RANK": "3", "PMI_RANK": "²"}
    options = ("USE_CPU", "GRADIENT_ACCUMULATION_STEPS", "TORCH_DEVICE", "DYNAMO_BACKEND")
    empty = {f"ACCELERATE_{name}": "" for name in options}
    with training(variables=left | mpi | empty, folder=tmp_path) as process:
        ended = process.end(START_S)
    assert (ended.returncode, ended.errors) == (0, [])


@pytest.mark.processes
@pytest.mark.parametrize(
    ("rank", "address", "wrong"),
    [
        (0, "127.0.0.1", r"process 0 of 2 waited at .*, but process 1 did not come within"),
        (1, "127.0.0.1", r"process 1 of 2 did not reach the main process .* \(Connection refused"),
        (1, "no-such-host.invalid", r"'no-such-host\.invalid' is not a name or address known"),
    ],
)
def test_who_waits_in_vain_ends_in_time_with_one_line(rank, address, wrong, tmp_path):
    variables = rendezvous(rank, port=free_port(), address=address)
    flags = ["--process-timeout-s", "2"]
    with training(*flags, variables=variables, folder=tmp_path) as process:
        ended = process.end(2 + START_S)
    assert ended.returncode == 1
    (error,) = ended.errors
    assert re.search(wrong, error)
    assert ("waiting for 2 processes to meet" in ended.stderr) == (rank == 0)


@pytest.mark.processes
def test_a_busy_port_is_one_line_on_each_process(tmp_path):
    port = free_port()
    with silent_program(port), ExitStack() as stack:
        processes = [
            stack.enter_context(
                training(
                    *("--process-timeout-s", "2"),
                    variables=rendezvous(rank, port=port),
                    folder=tmp_path,
                )
            )
            for rank in range(2)
        ]
        main, other = (process.end(2 + START_S) for process in processes)
    assert main.returncode == other.returncode == 1
    assert len(main.errors) == len(other.errors) == 1
    assert f"process 0 of 2: port {port} of this machine is busy" in main.stderr
    assert "process 1 of 2 found something at" in other.stderr


@pytest.mark.processes
@pytest.mark.parametrize(
    ("loop", "fault", "wrong"),
    [
        ("stock", signal.SIGKILL, "another process of the run has gone"),
        ("fast", signal.SIGKILL, "another process of the run has gone"),
        ("fast", signal.SIGSTOP, "process 1 did not answer within 3 s"),
    ],
)
def test_who_is_left_says_so_and_is_on_record_as_failed(loop, fault, wrong, tmp_path):
    port = free_port()
    flags = ["--process-timeout-s", "3", "--num-epochs", "4000", "--loop", loop]
    with ExitStack() as stack:
        main, other = (
            stack.enter_context(
                training(*flags, variables=rendezvous(rank, port=port), folder=tmp_path)
            )
            for rank in range(2)
        )
        wait_for("training", main)
        time.sleep(0.5)  # into the steps
        other.child.send_signal(fault)
        ended = main.end(3 + START_S)
    assert ended.returncode == 1
    assert len(ended.errors) == 1
    assert f"process 0 of 2: {wrong}" in ended.errors[0]
    assert "Traceback" not in ended.stderr
    (path,) = find_records([tmp_path / "runs"])
    record = load_record(path)
    assert record.status == "failed"
    assert record.error.startswith("ProcessLostError: process 0 of 2")


def wait_for(word, process, timeout_s=START_S):
    """Until `process` has said `word` on stderr."""
    deadline = time.monotonic() + timeout_s
    while word not in process.stderr_file.read_text():
        assert process.child.poll() is None, process.stderr_file.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.processes
def test_an_unknown_key_in_a_launch_configuration_is_one_line(tmp_path):
    path = tmp_path / "launch.yaml"
    path.write_text("distributed_type: MULTI_GPU\nnum_procs: 2\n")
    done = subprocess.run(
        [sys.executable, "-m", "mnistbench", "doctor", "--launch-config", str(path)],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "unknown keys (['num_procs'])" in done.stderr


@pytest.mark.parametrize(
    ("batch", "num_processes", "sizes"),
    [(63, 2, "62 or 64"), (1, 2, "2"), (100, 8, "96 or 104"), (7, 4, "4 or 8")],
)
def test_a_batch_that_does_not_divide_names_the_nearest_that_do(batch, num_processes, sizes):
    with pytest.raises(InputError, match=f"use --global-batch-size {sizes}$"):
        check_batch(RunConfig(global_batch_size=batch), num_processes)


@pytest.mark.parametrize("values", [{"global_batch_size": 64}, {"per_device_batch_size": 7}])
def test_a_batch_that_divides_is_taken(values):
    check_batch(RunConfig(**values), 4)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 4500ms for recv",
            "did not answer within 4.5 s",
        ),
        ("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [::1]:7", "has gone"),
        ("Gloo connectFullMesh failed with [gloo/rendezvous]", "GLOO_SOCKET_IFNAME"),
    ],
)
def test_what_the_backend_says_becomes_one_line(said, told):
    with pytest.raises(ProcessLostError, match=told), exchange_errors():
        raise RuntimeError(said)


def test_other_errors_stay_as_they_are():
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"), exchange_errors():
        raise RuntimeError("shapes do not fit")


def test_after_a_loss_a_launchers_signal_no_longer_ends_the_process():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with pytest.raises(ProcessLostError), exchange_errors():
        raise torch.distributed.DistNetworkError("gone")
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("variables", "wrong"),
    [
        (rendezvous(2, port=1), r"RANK: should be a whole number, 0 to 1 \(got '2'\)"),
        (rendezvous(-1, port=1), r"RANK: should be a whole number, 0 to 1 \(got '-1'\)"),
        (rendezvous(0, port="http"), "MASTER_PORT: should be a whole number, 1 to 65535"),
        (rendezvous(0, port=0), "MASTER_PORT: should be a whole number, 1 to 65535"),
        (rendezvous(0, port=1) | {"LOCAL_RANK": "one"}, "LOCAL_RANK: should be .* 0 to 2147483647"),
    ],
)
def test_a_meeting_point_that_cannot_be_is_refused(variables, wrong, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=wrong):
        start_accelerator(RunConfig())


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in (rendezvous(0, port=1, num_processes=8) | {"LOCAL_WORLD_SIZE": "8"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"8 on this machine, which has 1 GPU"):
        start_accelerator(RunConfig())


def test_fsdp_on_the_cpu_is_refused_and_not_ignored(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    with pytest.raises(InputError, match="asks for FSDP, which cpu processes do not do"):
        start_accelerator(RunConfig())
