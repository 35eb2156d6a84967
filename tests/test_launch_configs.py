"""Launch configurations and scripts: Accelerate takes them, and they start what they say."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from accelerate.utils.ao import filter_linear_layers, find_first_last_linear_layers
from torch import nn

from mnistbench import doctor, train
from mnistbench.engine.launch_config import read_launch_config
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_batch
from mnistbench.schema.errors import InputError
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.models import MODELS, build_model

FOLDER = Path(__file__).parents[1] / "launch_configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
SCRIPTS = sorted([*FOLDER.rglob("*.sh"), *FOLDER.rglob("*.sbatch")])
STARTS = {
    "cpu_1": ("NO", True, 1, 1, "no"),
    "cpu_2": ("MULTI_GPU", True, 2, 1, "no"),
    "gpu_1": ("NO", False, 1, 1, "no"),
    "gpu_1_bf16": ("NO", False, 1, 1, "bf16"),
    "gpu_1_fp16": ("NO", False, 1, 1, "fp16"),
    "gpu_8": ("MULTI_GPU", False, 8, 1, "no"),
    "gpu_8_bf16": ("MULTI_GPU", False, 8, 1, "bf16"),
    "gpu_8_fsdp2": ("FSDP", False, 8, 1, "bf16"),
    "gpu_8_fp8": ("MULTI_GPU", False, 8, 1, "fp8"),
    "nodes_2x8": ("MULTI_GPU", False, 16, 2, "bf16"),
}
MORE_LAYERS = {"cnn": {"linear_layers": 4}}


def by_name(path):
    return path.name


def header_commands(path):
    """The commands in the comments at the top, as lists of words."""
    lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    return [
        shlex.split(line)
        for line in lines
        if re.match(r"(accelerate launch|mnistbench|sbatch|HEAD=)", line)
    ]


def test_every_configuration_of_the_list_is_there():
    assert {path.stem for path in CONFIGS} == set(STARTS)
    assert {str(path.relative_to(FOLDER)) for path in SCRIPTS} >= {
        "torchrun_elastic.sh",
        "slurm/one_node.sbatch",
        "slurm/several_nodes.sbatch",
        "slurm/requeue_on_preemption.sbatch",
    }


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_accelerate_takes_it_and_starts_what_its_name_says(path):
    config = read_launch_config(path)
    found = (
        config.distributed_type,
        config.use_cpu,
        config.num_processes,
        config.num_machines,
        config.mixed_precision,
    )
    assert found == STARTS[path.stem]
    config.check_processes()


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_every_key_has_a_comment_and_the_top_says_when(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# When: ")
    keys = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in keys if not re.match(r" *\w+: ?\S* # \S", line)] == []
    assert len(keys) >= len(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_the_command_at_its_top_starts_a_training_that_fits(path, capsys):
    (command,) = [words for words in header_commands(path) if words[0] == "accelerate"]
    told = launch_command_parser().parse_args(command[2:])
    assert told.config_file == f"launch_configs/{path.name}"
    assert (told.module, told.training_script) == (True, "mnistbench.train")
    assert train.main([*told.training_script_args, "--print-config"]) == 0
    config = RunConfig(**yaml.safe_load(capsys.readouterr().out))
    check_batch(config, read_launch_config(path).num_processes)


@pytest.mark.processes
@pytest.mark.parametrize("path", SCRIPTS, ids=by_name)
def test_scripts_pass_shellcheck_and_say_when(path):
    checker = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([checker, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^# When: ", path.read_text(), re.MULTILINE)
    (command,) = header_commands(path)
    assert any(word.endswith(f"/{path.name}") for word in command)
    named = re.findall(r"launch_configs/[\w/.]+", path.read_text())
    assert [name for name in named if not (FOLDER.parent / name).exists()] == []


def test_as_many_machines_as_the_configuration_are_asked_of_slurm():
    script = (FOLDER / "slurm" / "several_nodes.sbatch").read_text()
    asked = re.search(r"--nodes=(\d+)", script)
    assert int(asked[1]) == read_launch_config(FOLDER / "nodes_2x8.yaml").num_machines


@pytest.fixture
def stand_ins(tmp_path):
    """Programs that only a cluster has, and their callers' words: one line each in a file."""
    folder, log = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()

    def add(name, body=""):
        program = folder / name
        program.write_text(f'#!/usr/bin/env bash\necho {name} "$@" >> {log}\n{body}\n')
        program.chmod(0o755)

    def environment(**values):
        return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | values

    add.environment = environment
    add.calls = lambda: log.read_text().splitlines() if log.exists() else []
    return add


@pytest.mark.processes
def test_several_nodes_meet_first_and_then_each_launches_with_its_rank(stand_ins):
    stand_ins("scontrol", "echo node-a; echo node-b")
    stand_ins("srun", 'shift; SLURM_NODEID=0 "$@"; SLURM_NODEID=1 "$@"')
    stand_ins("mnistbench")
    stand_ins("accelerate")
    script = FOLDER / "slurm" / "several_nodes.sbatch"
    subprocess.run(
        ["bash", script, "--recipe", "simple-cnn", "--data-dir", "with space"],
        env=stand_ins.environment(SLURM_JOB_ID="30042", SLURM_JOB_NODELIST="node-[a-b]"),
        timeout=30,
        check=True,
    )
    calls = stand_ins.calls()
    doors = [line for line in calls if line.startswith(("mnistbench", "accelerate"))]
    assert [line.split()[0] for line in doors] == ["mnistbench", "accelerate"] * 2
    for rank, line in zip([0, 0, 1, 1], doors, strict=True):
        assert re.search(f"machine[-_]rank {rank} ", line)
        assert re.search("main[-_]process[-_]ip node-a --main[-_]process[-_]port 20042", line)
    assert doors[1].endswith("-m mnistbench.train --recipe simple-cnn --data-dir with space")


@pytest.mark.processes
def test_a_machine_that_is_not_met_does_not_launch(stand_ins):
    stand_ins("scontrol", "echo node-a")
    stand_ins("srun", 'shift; SLURM_NODEID=1 "$@"')
    stand_ins("mnistbench", "exit 1")
    stand_ins("accelerate")
    done = subprocess.run(
        ["bash", FOLDER / "slurm" / "several_nodes.sbatch"],
        env=stand_ins.environment(SLURM_JOB_ID="1", SLURM_JOB_NODELIST="node-a"),
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert not [line for line in stand_ins.calls() if line.startswith("accelerate")]


@pytest.mark.processes
def test_a_job_at_its_time_limit_ends_its_step_and_queues_again(stand_ins, tmp_path):
    pid = tmp_path / "pid"
    stand_ins("srun", f"trap 'exit 143' TERM; echo $$ > {pid}; while :; do sleep 0.05; done")
    stand_ins("scancel", f'kill -TERM "$(cat {pid})"')
    stand_ins("scontrol")
    job = subprocess.Popen(
        ["bash", FOLDER / "slurm" / "requeue_on_preemption.sbatch", "--seed", "0..9"],
        env=stand_ins.environment(SLURM_JOB_ID="7"),
    )
    try:
        deadline = time.monotonic() + 20
        while not pid.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(20) == 0
    finally:
        job.kill()
    assert stand_ins.calls() == [
        "srun mnistbench sweep --seed 0..9",
        "scancel --signal=TERM 7",
        "scontrol requeue 7",
    ]


@pytest.mark.processes
def test_the_elastic_script_wants_to_know_where_to_meet():
    environment = {name: value for name, value in os.environ.items() if name != "HEAD"}
    done = subprocess.run(
        ["bash", FOLDER / "torchrun_elastic.sh"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "set HEAD to the address" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("num_procs: 2\ndistributed_type: 'NO'\n", "unknown keys (['num_procs'])"),
        ("distributed_type: MULTI_GPUS\n", "'MULTI_GPUS' is not a valid DistributedType"),
        ("num_processes: 2\n", "`distributed_type` must be specified"),
        ("", "not taken by Accelerate"),
        ("- 1\n", "not taken by Accelerate"),
        ("distributed_type: [NO\n", "malformed YAML"),
        ("distributed_type: 'NO'\nnum_processes: two\n", "num_processes: should be a valid int"),
        ("distributed_type: MULTI_GPU\nuse_cpu: true\n", "num_processes"),
        ("distributed_type: NO\n", "YAML reads a bare NO as false: quote it"),
        ("distributed_type: 'NO'\nuse_cpu: 0\n", "use_cpu: should be a valid boolean (got 0)"),
        ("distributed_type: 'NO'\nmixed_precision: x\n", "mixed_precision: should be 'no', 'b"),
        ("distributed_type: 'NO'\nmain_process_port: -1\n", "main_process_port: should be gr"),
    ],
)
def test_a_file_that_accelerate_does_not_take_is_one_line(text, wrong, tmp_path, capsys):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as stop:
        doctor.main(["--launch-config", str(path)])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert wrong in err


def test_no_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        read_launch_config(tmp_path / "none.yaml")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        (
            {"distributed_type": "MULTI_CPU", "num_processes": 2},
            "CPU starts one process, not 2",
        ),
        ({"distributed_type": "NO", "num_processes": 2}, "NO starts one process, not 2"),
        ({"num_processes": 3, "num_machines": 2}, "do not divide over 2 machines"),
        ({"num_processes": 2, "num_machines": 2, "machine_rank": 2}, "2 of 2 machines"),
        ({"num_processes": 2, "mixed_precision": "fp16"}, "fp16 does not run on the CPU"),
        ({"num_processes": 4, "use_cpu": False}, "on this machine, which has"),
        ({"num_processes": 2, "num_machines": 2}, "main_process_ip: not set"),
        (
            {"num_processes": 2, "num_machines": 2, "main_process_ip": "h", "main_process_port": 0},
            "main_process_port: should be from 1",
        ),
    ],
)
def test_what_would_go_wrong_is_found_before_the_launch(keys, wrong, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("COLUMNS", "1000")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"distributed_type": "MULTI_GPU", "use_cpu": True} | keys))
    assert doctor.main(["--launch-config", str(path)]) == 1
    out = capsys.readouterr().out
    (broken,) = [line for line in out.splitlines() if "BROKEN" in line]
    assert wrong in broken


def models_with_float8():
    """The models that Accelerate finds layers in for torchao to convert, as it goes by default."""
    for name in MODELS:
        model = build_model(RunConfig(model=name, **MORE_LAYERS.get(name, {})), DIGIT_SHAPE)
        ends = find_first_last_linear_layers(model)
        layers = {key: part for key, part in model.named_modules() if isinstance(part, nn.Linear)}
        if any(filter_linear_layers(part, key, ends) for key, part in layers.items()):
            yield name


def test_the_fp8_example_trains_a_network_that_has_fp8_layers(capsys):
    assert set(models_with_float8()) == {"dnn5", "cnn"}  # those that the file and the page name
    (command,) = header_commands(FOLDER / "gpu_8_fp8.yaml")
    told = launch_command_parser().parse_args(command[2:])
    assert train.main([*told.training_script_args, "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"] == "dnn5"


@pytest.mark.processes
def test_a_configuration_in_order_is_status_0(capsys):
    assert doctor.main(["--launch-config", str(FOLDER / "cpu_2.yaml")]) == 0
    out = capsys.readouterr().out
    assert "2 on this machine" in out
    assert "BROKEN" not in out


@pytest.mark.processes
@pytest.mark.parametrize("timeout", ["0", "nan"])
def test_a_senseless_wait_is_refused(timeout, tmp_path, capsys):
    path = tmp_path / "config.yaml"
    keys = {"distributed_type": "MULTI_GPU", "use_cpu": True, "num_processes": 2}
    path.write_text(yaml.safe_dump(keys | {"num_machines": 2, "main_process_ip": "localhost"}))
    with pytest.raises(SystemExit, match="2"):
        doctor.main(["--launch-config", str(path), "--timeout-s", timeout])
    assert "error: --timeout-s: should be " in capsys.readouterr().err
