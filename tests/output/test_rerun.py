"""The command that a page prints for a row makes that row's configuration again."""

import shlex

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mnistbench.analysis.grouping import group_runs
from mnistbench.cli import read_config
from mnistbench.flags import CommandFlags, parse
from mnistbench.output.rerun import rerun_commands, rerun_flags, start_notes
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import APPLIES_TO, is_read
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import DatasetInfo
from mnistbench.schema.training_fields import BOOKKEEPING
from mnistbench.workload.recipes import RECIPES
from tests.made_records import make_record

SETTINGS = {name: recipe.settings for name, recipe in RECIPES.items()}
VALUES = {
    "dataset": ["mnist", "kmnist", "synthetic"],
    "val_size": [0, 5000],
    "eval_split": ["test", "val"],
    "pixel_mean": [0.1370, None],
    "augment": [("shift",), ("shift", "elastic"), ()],
    "augment_shift_px": [3],
    "model": ["cnn", "linear", "speedrun-cnn", "my nets.py:Tiny"],
    "model_args": [{"width": 8, "betas": [0.9, 1e-3], "act": "a b", "on": None, "to": "null"}],
    "channels": [7],
    "dropout": [0.25],
    "loss": ["mse", "kl"],
    "label_smoothing": [0.05],
    "optimizer": ["adam", "sgd", "muon"],
    "lr": [1e-07, 0.1 + 0.2, 3.0],
    "momentum": [0.9, 1 / 3],
    "nesterov": [True, False],
    "lr_schedule": ["cosine", "one-cycle", "step"],
    "lr_warmup_steps": [7],
    "max_steps": [None, 12],
    "global_batch_size": [64, 96],
    "per_device_batch_size": [32],
    "lr_scaling": ["linear"],
    "mixed_precision": ["bf16"],
    "loop": ["stock", "fast"],
    "cuda_graph": [False],
    "compile": [True, False],
    "num_threads": [1],
    "target_accuracy": [0.97, 0.5],
    "stop_at_target": [True],
    "eval_every_steps": [10, None],
    "profile": [("torch", "memory"), ()],
    "profile_steps": ["5:10"],
    "profile_details": [("stacks",), ()],
}
TYPED = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}
)


def parsed(flags):
    return read_config(parse(CommandFlags, flags, RunConfig.model_fields)[1], None)


def decides(config):
    """All values of `config` that something reads, but where it writes and whom it tells."""
    values = config.model_dump(exclude=set(BOOKKEEPING) | {"seed", "num_seeds"})
    for name in APPLIES_TO:
        if not is_read(name, values):
            values[name] = "not read"
    return values


@pytest.mark.slow
@given(recipe=st.sampled_from([None, *RECIPES]), typed=TYPED)
@settings(max_examples=100)
def test_flags_make_the_configuration_that_they_were_made_of(recipe, typed):
    values = dict(SETTINGS.get(recipe, {})) | typed
    if ":" not in typed.get("model", ""):
        values.pop("model_args", None)
    if "per_device_batch_size" in typed:
        values["global_batch_size"] = None
    try:
        config = RunConfig(**values | {"recipe": recipe})
    except InputError:
        assume(False)
    assert decides(parsed(rerun_flags(config))) == decides(config)


@given(recipe=st.sampled_from([None, *RECIPES]))
def test_a_recipe_as_it_is_needs_no_other_flag(recipe):
    config = RunConfig(recipe=recipe, **SETTINGS.get(recipe, {}))
    assert rerun_flags(config) == (["--recipe", recipe] if recipe else [])


def words(group):
    return [shlex.split(command) for command in rerun_commands(group)]


def alone(seed, **environment):
    record = make_record(seed)
    return record.model_copy(update={"environment": record.environment | environment})


def test_seeds_that_follow_each_other_are_one_command():
    commands = words([alone(seed, num_processes=1) for seed in (3, 0, 1, 7, 4, 2)])
    assert commands[0][-4:] == ["--seed", "0", "--num-seeds", "5"]
    assert commands[1][-2:] == ["--seed", "7"]
    assert commands[0][:2] == ["mnistbench", "train"]


def test_several_processes_are_started_by_torchrun():
    (two,) = words([alone(0)])
    assert two[:5] == ["torchrun", "--nproc-per-node", "2", "-m", "mnistbench.train"]
    (four,) = words([alone(0, num_processes=4, num_machines=2)])
    met = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "HOST:29500"]
    assert four[:9] == ["torchrun", "--nnodes", "2", *met, "--nproc-per-node", "2"]
    assert four[9:11] == ["-m", "mnistbench.train"]
    (odd,) = words([alone(0, num_processes=3, num_machines="$(rm -rf)")])
    assert odd[:3] == ["torchrun", "--nproc-per-node", "3"]


def test_accelerate_starts_what_it_had_started():
    gpu = {"launcher": "accelerate", "device_type": "cuda"}
    (several,) = rerun_commands([alone(0, num_processes=4, num_machines=2, **gpu)])
    assert several.startswith(
        "accelerate launch --multi_gpu --num_processes 4 --num_machines 2 --machine_rank RANK "
        "--main_process_ip HOST --main_process_port 29500 -m mnistbench.train --recipe simple-cnn"
    )
    (two,) = rerun_commands([alone(0, num_processes=2, num_machines=1, **gpu)])
    start = "accelerate launch --multi_gpu --num_processes 2 -m mnistbench.train "
    assert two.startswith(start)
    (one,) = rerun_commands([alone(0, num_processes=1, launcher="accelerate")])
    assert one.startswith("accelerate launch --num_processes 1 --cpu -m mnistbench.train ")
    # of several on CPUs Accelerate needs a file, which is on no record
    (cpu,) = words([alone(0, num_processes=2, launcher="accelerate")])
    assert cpu[0] == "torchrun"


def test_what_a_command_of_several_machines_leaves_open_is_said():
    two = {"num_processes": 4, "num_machines": 2}
    (torchrun,) = rerun_commands([alone(0, **two)])
    gpu = alone(0, launcher="accelerate", device_type="cuda", **two)
    (accelerate,) = rerun_commands([gpu])
    (note,) = start_notes([torchrun])
    assert note == (
        "a command with HOST is started on each machine; HOST is the name of one of them"
    )
    (ranked,) = start_notes([torchrun, accelerate])
    assert ranked == f"{note}; RANK is 0 there, and 1, 2 and so on on the others"
    assert start_notes(rerun_commands([alone(0)])) == []


def test_what_was_left_open_is_as_it_came_out():
    record = alone(0, num_processes=1, mixed_precision="bf16")
    data = DatasetInfo(
        name="kmnist", source="local", sha256="0", num_train=1, num_val=0, num_test=1
    )
    (command,) = words([record.model_copy(update={"dataset": data})])
    assert command[command.index("--dataset") :][:2] == ["--dataset", "kmnist"]
    assert command[command.index("--mixed-precision") :][:2] == ["--mixed-precision", "bf16"]


@pytest.mark.parametrize("change", [{"model": "$(reboot)"}, {"lr": "`id`"}, {"surprise": 1}])
def test_a_configuration_of_another_version_is_refused(change):
    record = make_record(0)
    with pytest.raises(InputError):
        rerun_commands([record.model_copy(update={"config": record.config | change})])


def test_what_a_graph_was_by_default_once_is_not_asked_for():
    earlier = make_record()
    earlier = earlier.model_copy(update={"config": earlier.config | {"cuda_graph": True}})
    (command,) = rerun_commands([earlier])
    assert "cuda-graph" not in command  # which would be refused where there is no GPU
    assert len(group_runs([earlier, make_record(seed=1)])) == 1
