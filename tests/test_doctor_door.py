"""The door to diagnosis: what is fine, what is broken, and one network's layers."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from mnistbench import doctor as door
from mnistbench.schema.errors import InputError
from tests.processes import free_port

LAUNCH = {
    "compute_environment": "LOCAL_MACHINE",
    "distributed_type": "NO",
    "use_cpu": True,
    "num_machines": 1,
    "machine_rank": 0,
    "num_processes": 1,
    "main_process_port": 0,
    "mixed_precision": "no",
}
TWO = {"distributed_type": "MULTI_GPU", "num_processes": 2}


@pytest.fixture(autouse=True)
def _in_a_wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.mark.processes
def test_a_healthy_machine_is_status_0(tmp_path, capsys):
    assert door.main(["--data-dir", str(tmp_path), "--output-dir", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    for check in ("versions", "threads", "GPU", "launcher", "data: mnist", "disk"):
        assert check in out
    assert "processes start, and see each other" in out
    assert "BROKEN" not in out
    assert list(tmp_path.iterdir()) == []


def test_damaged_data_is_found_and_status_1(tmp_path, capsys):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{stem}-ubyte").write_bytes(b"\0\0\x08\x03")
    assert door.main(["--data-dir", str(tmp_path), "--no-launch"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN" in out
    assert "train-images-idx3-ubyte" in out


def test_real_data_is_verified(mnist_dir, capsys):
    assert door.main(["--data-dir", mnist_dir, "--no-launch"]) == 0
    assert f"verified in {mnist_dir}" in capsys.readouterr().out


def test_an_output_folder_that_cannot_be_is_status_1(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    argv = ["--data-dir", str(tmp_path), "--no-launch", "--output-dir", str(tmp_path / "file")]
    assert door.main(argv) == 1
    assert "is not a folder" in capsys.readouterr().out


def test_what_is_wrong_is_told_to_its_end_however_long(tmp_path, capsys):
    folder = tmp_path.joinpath(*["x" * 100] * 4)
    (folder / "MNIST" / "raw").mkdir(parents=True)
    (folder / "MNIST" / "raw" / "mnist.npz").write_bytes(b"")
    door.main(["--data-dir", str(folder), "--output-dir", str(tmp_path), "--no-launch"])
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "mnist.npz" in line]
    assert told.endswith("or use --dataset synthetic")


def test_a_network_is_shown_with_its_layers_and_parameters(capsys):
    assert door.main(["--model", "simple-cnn"]) == 0
    out = capsys.readouterr().out
    assert "Total params: 8,490" in out
    assert "[1, 10, 24, 24]" in out


def test_an_unknown_network_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        door.main(["--model", "vgg"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.processes
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"dynamo_config": {"dynamo_backend": "INDUCTOR"}}, "the launcher asks for INDUCTOR"),
        (
            TWO | {"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 1}},
            "the launcher asks for FSDP, which cpu processes do not do",
        ),
        (TWO | {"distributed_type": "DEEPSPEED", "deepspeed_config": {}}, "DeepSpeed is not inst"),
        ({"mixed_precision": "fp16"}, "fp16 does not run on the CPU"),
        ({"mpirun_config": {"mpirun_hostfile": "none"}}, "mpirun or mpiexec were not found"),
    ],
)
def test_a_launch_that_train_would_refuse_is_no_ok(tmp_path, capsys, monkeypatch, changes, says):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    path = tmp_path / "launch.yaml"
    path.write_text(yaml.safe_dump(LAUNCH | changes))
    status = door.main(["--launch-config", str(path)])
    out = capsys.readouterr().out
    assert status == (0 if says is None else 1), out
    assert (says or "processes start, and see each other") in out


def test_a_batch_that_processes_cannot_share_is_told_before_a_launch():
    from mnistbench.engine.launch_config import LaunchConfig

    config = LaunchConfig(
        **LAUNCH | TWO | {"num_processes": 3, "main_process_ip": None, "path": Path()}
    )
    assert "use --global-batch-size 63 or 66" in config.check_processes()


def machine(rank, *, port, timeout_s):
    """What machine `rank` of two is told of the other."""
    from mnistbench.engine.launch_config import LaunchConfig

    two = {"num_machines": 2, "machine_rank": rank, "main_process_ip": "localhost"}
    config = LaunchConfig(**LAUNCH | TWO | two | {"main_process_port": port, "path": Path()})
    try:
        return door._meet(config, timeout_s)
    except InputError as error:
        return str(error)


@pytest.mark.processes
def test_machines_meet_or_the_missing_one_is_named():
    port = free_port()
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda rank: machine(rank, port=port, timeout_s=90), (1, 0)))
    assert told == [f"all 2 met at localhost:{port}"] * 2
    alone = machine(0, port=port, timeout_s=1)
    assert f"process 0 of 2 waited at localhost:{port}, but process 1 did not come" in alone
    assert alone.endswith("; run doctor on all at the same time")


@pytest.mark.parametrize("known", [True, False])
def test_a_name_of_this_machine_that_nobody_knows_is_told(monkeypatch, known):
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost" if known else "no-such.invalid")
    found = door._finding("host name", door._host_name)
    assert found.broken is not known
    assert known or "'no-such.invalid' is not known on it" in found.detail
