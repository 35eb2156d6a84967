"""The door to diagnosis: what is fine, what is broken, and one network's layers."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml

from mnistbench import doctor as door
from mnistbench.schema.errors import InputError
from tests.processes import free_port
from tests.workload.own_files import MY_NETS, working_directory

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
def test_a_healthy_machine_is_status_0(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert door.main(["--data-dir", str(tmp_path), "--output-dir", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    states = dict(re.findall(r"^(\S.*?)  +(ok|note|BROKEN) ", out, re.MULTILINE))
    rest = ("caches", "load", "host name", "versions", "processor", "threads", "launch defaults")
    assert states.pop("kernels") in {"ok", "note"}  # there may be no compiler
    assert states == dict.fromkeys((*rest, "disk", "launcher"), "ok") | {
        "GPU": "note",
        "data": "note",
    }
    assert max(len(line) for line in out.splitlines() if "/" not in line) <= 80
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
    out = capsys.readouterr().out
    assert f"data: mnist         ok      verified in {mnist_dir}" in out
    assert "a run that names one downloads it" in " ".join(out.split())


def test_caches_are_named_with_their_sizes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))
    for name, size in {"mnistbench/mapped/a": 2_400, "mnistbench/b": 7, "torch/c": 3e6}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(int(size)))
    door.main(["--no-launch", "--data-dir", str(tmp_path)])
    out = " ".join(capsys.readouterr().out.split())
    assert f"2.4 kB in {tmp_path}/mnistbench (mapped 2.4 kB, b 7 bytes); remove any" in out
    assert f"3 MB in {tmp_path}/torch, PyTorch's own" in out


def test_a_busy_machine_is_a_note(monkeypatch, capsys):
    monkeypatch.setattr(door, "load_now", lambda: "other processes use 1.5 of 2 cores: too bad")
    door.main(["--no-launch"])
    assert re.search(r"^load +note +other processes use 1.5 of 2", capsys.readouterr().out, re.M)


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
    told = " ".join(capsys.readouterr().out.split())
    assert "mnist.npz" in told
    assert "or use --dataset synthetic data note" in told  # the next check


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
    out = " ".join(capsys.readouterr().out.split())
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
    assert found.state == ("ok" if known else "BROKEN")
    assert known or "'no-such.invalid' is not known on it" in found.detail


OWN = ("--loss", "my_nets:gce", "--optimizer", "my_nets:Lion", "--lr-schedule", "my_nets:wsd")


@pytest.fixture
def my_files(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(MY_NETS)
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3, 16, 19), dtype=np.uint8)
    labels = np.arange(200) % 5
    arrays = {"x_train": pixels, "y_train": labels, "x_test": 255 - pixels, "y_test": labels}
    np.savez(tmp_path / "colours.npz", **arrays)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with working_directory(tmp_path):
        yield


TRIED = "model, logits, loss, gradients, optimizer, lr_schedule"
ALL = f"model: import, loss: import, optimizer: import, lr_schedule: import, {TRIED}"
COLOURS = ("--dataset", "colours.npz")


@pytest.mark.parametrize(
    ("argv", "checks", "words"),
    [
        (["--model", "linear"], "", "linear\n====="),
        (COLOURS, "dataset", "simple-cnn\n====="),
        (["--model", "my_nets:TinyNet", "--model-args", "width=3", *OWN], ALL, "params: 2,395"),
        (
            ["--model", "my_nets:TinyNet", *COLOURS],
            f"model: import, dataset, {TRIED}",
            "[8, 5] of images [8, 3, 16, 19]",
        ),
    ],
)
def test_own_components_that_work_are_shown_and_status_0(my_files, capsys, argv, checks, words):
    assert door.main(argv) == 0
    out = capsys.readouterr().out
    found = re.findall(r"^(\S.*?) +(ok|BROKEN) ", out, re.MULTILINE)
    assert found == [(name, "ok") for name in filter(None, checks.split(", "))]
    assert words in out
    assert out.count("Total params: ") == 1


@pytest.mark.parametrize(
    ("argv", "last"),
    [
        (["--model", "my_nets:TinyNett"], "model BROKEN my_nets has no TinyNett; did you mean"),
        (
            ["--model", "my_nets:TinyNet", "--model-args", "wdth=3"],
            "model_args BROKEN TinyNet takes no wdth; did you mean width?",
        ),
        (
            ["--loss", "torch.nn:CrossEntropyLoss", "--loss-args", "reduction=none"],
            "loss BROKEN gives [8]; return its mean(), a tensor of one number",
        ),
        (["--optimizer", "torch.optim:LBFGS"], "optimizer BROKEN LBFGS.step needs a closure"),
        (["--dataset", "none.npz", "--loss", "my_nets:gce"], "dataset BROKEN"),
    ],
)
def test_own_components_that_do_not_are_status_1(my_files, capsys, argv, last):
    assert door.main(argv) == 1
    out = capsys.readouterr().out
    assert " ".join(out.splitlines()[-1].split()).startswith(last)
    assert out.count("BROKEN") == 1
    assert "=====" not in out
