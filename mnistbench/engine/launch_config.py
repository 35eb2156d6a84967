"""What Accelerate's launch configuration files say, and what would go wrong with one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.commands.config.config_args import (
    ClusterConfig,
    default_config_file,
    load_config_from_file,
)
from accelerate.utils import DistributedType
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_batch
from mnistbench.schema.errors import InputError, one_line
from mnistbench.schema.plain_yaml import read_yaml
from mnistbench.schema.strict_json import read_json

_DEFAULT_PORT = 29_500
_MAX_JSON_BYTES = 2**17


class LaunchConfig(BaseModel):
    """What `accelerate launch` would start, as far as it can be checked before."""

    model_config = ConfigDict(strict=True, frozen=True)

    path: Path
    distributed_type: DistributedType = Field(strict=False)
    use_cpu: bool
    mixed_precision: Literal["no", "bf16", "fp16", "fp8"]
    num_processes: int = Field(ge=1)
    num_machines: int = Field(ge=1)
    machine_rank: int = Field(ge=0)
    main_process_ip: str | None
    main_process_port: int = Field(ge=0)

    def with_flags(self, **flags: Any) -> LaunchConfig:
        """This, with the flags of `accelerate launch` that are not ``None`` over it."""
        given = {name: value for name, value in flags.items() if value is not None}
        return self.model_copy(update=given)

    def summary(self) -> str:
        """One line on what it starts."""
        device = "CPU" if self.use_cpu else "GPU"
        return (
            f"{self.path}: {self.distributed_type.value} on the {device}, {self.num_processes} "
            f"process(es) on {self.num_machines} machine(s), {self.mixed_precision}"
        )

    def check_processes(self) -> str:
        """How many processes each machine starts; refuses what would not be one run of them."""
        kind = self.distributed_type.value
        if kind in {"MULTI_CPU", "NO"} and self.num_processes > 1:
            raise InputError(
                f"num_processes: {kind} starts one process, not {self.num_processes}; use "
                "MULTI_GPU, on the CPU with use_cpu: true"
            )
        if self.num_processes % self.num_machines:
            raise InputError(
                f"num_processes: {self.num_processes} in all do not divide over "
                f"{self.num_machines} machines, and Accelerate would start fewer"
            )
        if not 0 <= self.machine_rank < self.num_machines:
            raise InputError(
                f"machine_rank: {self.machine_rank} of {self.num_machines} machines; they count "
                "from 0"
            )
        found = f"{self.num_processes // self.num_machines} on this machine"
        try:
            check_batch(RunConfig(), self.num_processes)
        except InputError as error:  # of what train is told, not of this file
            return f"{found}; by default {error}"
        return found

    def check_devices(self) -> str:
        """What they run on; refuses fewer GPUs on this machine than processes."""
        if self.use_cpu:
            return "CPU"
        wanted, found = self.num_processes // self.num_machines, torch.cuda.device_count()
        if found < wanted:
            raise InputError(
                f"num_processes: {wanted} on this machine, which has {found} GPU(s); lower it, or "
                "set use_cpu: true"
            )
        return f"{found} GPU(s) for {wanted} process(es)"

    def command(self, module: str) -> list[str]:
        """What starts `module` as a run would be, but with this machine's processes alone."""
        launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
        launcher += ["--config_file", str(self.path)]
        if self.num_machines > 1:
            here = str(self.num_processes // self.num_machines)
            launcher += ["--num_machines", "1", "--machine_rank", "0", "--num_processes", here]
            launcher += ["--main_process_ip", "127.0.0.1", "--main_process_port", "0"]
        return [*launcher, "-m", module]

    def place(self) -> dict[str, str]:
        """Variables that make one process of each machine a process of one run."""
        address, port = self.main_process_ip, self.main_process_port
        if address is None:
            raise InputError(
                "main_process_ip: not set; give --main-process-ip, machine 0's address"
            )
        if not 0 < port < 2**16:
            raise InputError(f"main_process_port: should be from 1 to 65535 (got {port})")
        alone = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        alone |= {"RANK": str(self.machine_rank), "WORLD_SIZE": str(self.num_machines)}
        alone |= {"ACCELERATE_USE_CPU": str(self.use_cpu).lower()}
        return alone | {"MASTER_ADDR": address, "MASTER_PORT": str(port)}


def read_launch_config(path: Path) -> LaunchConfig:
    """What the file at `path` says, by Accelerate's own reader and checks.

    Raises:
        InputError: it cannot be read, Accelerate does not take it, or a value is of another kind
            than it should be.
    """
    given = _load(path)
    if not isinstance(given, ClusterConfig):
        raise InputError(f"{path}: compute_environment: only LOCAL_MACHINE is supported")
    port = given.main_process_port
    defaults = {
        "mixed_precision": given.mixed_precision or "no",
        "main_process_port": _DEFAULT_PORT if port is None else port,
    }
    try:  # Accelerate itself takes anything for anything
        return LaunchConfig.model_validate({**vars(given), **defaults, "path": path})
    except ValidationError as error:
        is_no = given.distributed_type is False
        mend = "; YAML reads a bare NO as false: quote it" if is_no else ""
        raise InputError(f"{path}: {one_line(error)}{mend}") from None


def launch_defaults() -> str | None:
    """What the user's own Accelerate configuration file says, if there is one."""
    path = Path(default_config_file)
    if not os.access(path, os.F_OK):
        return None
    config = _load(path)
    kind = getattr(config.distributed_type, "value", config.distributed_type)
    return f"{path}: {kind}, {config.num_processes} process(es), {config.mixed_precision}"


def _load(path: Path) -> Any:
    """What Accelerate makes of the file, which is read with care before it reads it without."""
    what = "a launch configuration"
    if path.suffix == ".json":
        read_json(path, max_bytes=_MAX_JSON_BYTES, what=what)
    else:
        read_yaml(path, what=what)
    try:
        return load_config_from_file(str(path))
    except Exception as error:  # Accelerate raises whatever its reader met
        said = " ".join(str(error).split()).replace(str(path), "it")
        raise InputError(f"{path}: not taken by Accelerate: {said}") from None
