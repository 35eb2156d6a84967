"""The commands that make a group of runs again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from mnistbench.analysis.differences import settings_of
from mnistbench.analysis.number_text import setting_text
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import is_read
from mnistbench.schema.escaping import brief
from mnistbench.schema.plain_yaml import yaml_word
from mnistbench.schema.provenance import sources_text
from mnistbench.schema.record import RunRecord
from mnistbench.schema.training_fields import BOOKKEEPING, as_left_to_the_run
from mnistbench.workload.recipes import over_recipe

_LONGEST = 60  # letters of a value
_HOST, _PORT, _RANK = "HOST", "29500", "RANK"
_RENDEZVOUS = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{_HOST}:{_PORT}")
_MAIN_PROCESS = (
    *("--machine_rank", _RANK),
    *("--main_process_ip", _HOST, "--main_process_port", _PORT),
)
_SAID_OTHERWISE = BOOKKEEPING | {"recipe", "seed", "num_seeds"}
_CANNOT_BE_NONE = {
    *("global_batch_size", "per_device_batch_size", "compile", "cuda_graph", "val_size"),
}
"""Fields that no flag sets to none: of the first two the other says so, a switch is on or off, and
the images of val are left to the run."""


def rerun_commands(group: Sequence[RunRecord]) -> list[str]:
    """Shell commands that run `group`, runs of one configuration, again: one for each row of seeds.

    What a configuration left open is as it came out then: the data set that ``auto`` found, the
    precision that a launcher chose. Where data lie and results go is left to the reader.

    Raises:
        InputError: this version has no such configuration.
    """
    record = group[0]
    config = RunConfig(**_settled(record))
    start = [*_start(record), *rerun_flags(config)]
    return [
        shlex.join([*start, "--seed", str(first), *["--num-seeds", str(number)] * (number > 1)])
        for first, number in _rows_of_seeds(run.seed for run in group if run.seed is not None)
    ]


def how_made(group: Sequence[RunRecord]) -> str:
    """By what `group`, runs of a loop that is not ours, were made, as far as they say it."""
    record = group[0]
    scripts = [code for code in record.code if code.component == "script"]
    config = ", ".join(
        f"{k} {brief(setting_text(v), _LONGEST)}" for k, v in settings_of(record).items()
    )
    seeds = ", ".join(str(run.seed) for run in group if run.seed is not None)
    told = {
        "loop": record.workload and record.workload.framework,
        "script": ", ".join(code.reference for code in scripts),
        "code": sources_text(scripts),
        "configuration": config,
        "seeds": seeds,
    }
    return "; ".join(f"{name}: {text}" for name, text in told.items() if text)


def start_notes(commands: Iterable[str]) -> list[str]:
    """What `commands` leave to the reader: the machines where there are several of them."""
    words = {word for command in commands for word in command.split()}
    if not words & {f"{_HOST}:{_PORT}", _HOST}:
        return []
    note = f"a command with {_HOST} is started on each machine; {_HOST} is the name of one of them"
    rank = f"; {_RANK} is 0 there, and 1, 2 and so on on the others"
    return [note + (rank if _RANK in words else "")]


def rerun_flags(config: RunConfig) -> list[str]:
    """Flags of ``train`` that make `config`, apart from its seeds and its bookkeeping.

    Those that differ from its recipe's settings or, without one, from the defaults. What nothing
    reads is left out, as ``train`` refuses it.
    """
    base = RunConfig(**over_recipe({"recipe": config.recipe})).model_dump()
    given = config.model_dump()
    flags = ["--recipe", config.recipe] if config.recipe else []
    for name, value in given.items():
        told = name not in _SAID_OTHERWISE and is_read(name, given)
        unsaid = value is None and name in _CANNOT_BE_NONE
        if told and value != base[name] and not unsaid:
            flags += _flag(name, value)
    return flags


def _settled(record: RunRecord) -> dict[str, Any]:
    values = dict(as_left_to_the_run(record.config))
    chosen = record.environment.get("mixed_precision")
    if values.get("mixed_precision") is None and chosen != "no":
        values["mixed_precision"] = chosen
    if values.get("dataset") == "auto" and record.dataset:
        values["dataset"] = record.dataset.name
    return values


def _start(record: RunRecord) -> list[str]:
    """What started the run: Accelerate or torchrun, and torchrun for what else started several."""
    environment = record.environment
    processes: int = environment.get("num_processes") or 1
    machines = environment.get("num_machines")
    if not (isinstance(machines, int) and machines > 1 and processes % machines == 0):
        machines = 1
    on_cpu = environment.get("device_type") == "cpu"
    if environment.get("launcher") == "accelerate" and (processes == 1 or not on_cpu):
        where = ["--cpu"] if on_cpu else []
        return [*_accelerate(processes, machines), *where, "-m", "mnistbench.train"]
    if processes == 1:
        return ["mnistbench", "train"]
    met = ["--nnodes", str(machines), *_RENDEZVOUS] if machines > 1 else []
    each = ["--nproc-per-node", str(processes // machines)]
    return ["torchrun", *met, *each, "-m", "mnistbench.train"]


def _accelerate(processes: int, machines: int) -> list[str]:
    several = ["--multi_gpu"] if processes > 1 else []
    met = ["--num_machines", str(machines), *_MAIN_PROCESS] if machines > 1 else []
    return ["accelerate", "launch", *several, "--num_processes", str(processes), *met]


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, tuple):
        return [f"--{flag}", *map(str, value)]
    if isinstance(value, dict):
        return [f"--{flag}", *(f"{its}={yaml_word(one)}" for its, one in value.items())]
    return [f"--{flag}", str(value)]


def _rows_of_seeds(seeds: Iterable[int]) -> list[tuple[int, int]]:
    """Seeds that follow each other, as the first of them and how many they are."""
    rows: list[tuple[int, int]] = []
    for seed in sorted(set(seeds)):
        if rows and seed == sum(rows[-1]):
            rows[-1] = (rows[-1][0], rows[-1][1] + 1)
        else:
            rows.append((seed, 1))
    return rows
