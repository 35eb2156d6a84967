"""What a run is told: one frozen, validated set of values.

Each field states its range and one sentence, with its unit; the command line, its help and the
YAML reader are all made from these declarations. Names of networks, losses and the like come from
``mnistbench.schema.names``, so nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mnistbench.schema.component import ARGUMENTS_OF, is_own, is_reference
from mnistbench.schema.config_rules import check_known_split
from mnistbench.schema.errors import InputError, one_line
from mnistbench.schema.names import ProfileKind, TrackerName
from mnistbench.schema.target import Target
from mnistbench.schema.workload_config import MAX_COUNT, WorkloadConfig

FLAG_GROUPS: Mapping[str, str] = {
    "Configuration": "recipe",
    "Data": "dataset",
    "Model": "model",
    "Loss and optimizer": "loss",
    "Schedule and length": "lr_schedule",
    "Loop and precision": "mixed_precision",
    "Processes": "num_threads",
    "Evaluation and target": "target_accuracy",
    "Output": "output_dir",
    "Checkpoints": "checkpoint_every_steps",
    "Profiling and tracking": "profile",
}
"""Headings of the help -> the first field of each; a group goes on to the next one's first."""

_BATCH = 64
"""Samples in a step, where neither batch size is given."""

_VAL_SIZE = 10_000
"""Images of val, of a built-in data set."""


class RunConfig(WorkloadConfig):
    """Everything that decides a run; keyword-only, immutable, valid once it exists.

    Raises:
        InputError: one line on the first value of the wrong type or range, on a name that is no
            field, or on two values that contradict each other.
    """

    if not TYPE_CHECKING:  # mypy sees the fields

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise InputError(one_line(error, names=type(self).model_fields)) from None

        __init__.__pydantic_base_init__ = True  # it changes the error alone

    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of weights, order and noise."""
    num_seeds: int = Field(1, ge=1, le=100_000)
    """Runs, with seeds from --seed on [runs]."""
    mixed_precision: Literal["no", "bf16", "fp16", "fp8"] | None = None
    """Autocast dtype; no is fp32. Default: the launcher's setting."""
    loop: Literal["fast", "stock"] = "fast"
    """Training loop; stock makes each step by Accelerate's own calls."""
    channels_last: bool = True
    """Use the channels-last memory format, in which convolutions are faster."""
    compile: bool | None = None
    """Compile the step of the fast loop, or the model of the stock loop, outside the train clock.
    Default: off."""
    cuda_graph: bool | None = None
    """Capture the step of the fast loop as a CUDA graph. Default: on for NVIDIA GPUs without
    --compile, else off."""
    steps_per_graph: int = Field(1, ge=1, le=1000)
    """Steps in one CUDA graph of the fast loop [steps]."""
    batch_last: bool | None = None
    """Fast loop, CPU: store the batch as the innermost dimension, and convolve by mnistbench's own
    kernels, compiled once for the processor. Default: on where they know the network and a C++
    compiler is installed, without --exact-parity."""
    exact_parity: bool = False
    """Fast loop: add gradients in one fixed order. Runs have the same bits if processes times
    accumulated batches is the same power of two."""
    fused_optimizer: bool = True
    """Fast loop: update all weights in one kernel, if torch has one."""
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """torch's float32_matmul_precision, for convolutions as well; below highest, fp32 products may
    run in TF32 or bf16."""
    flush_denormals: bool = True
    """Fast loop: treat numbers below 1.2e-38 as 0, on the CPU."""
    reuse_memory: bool = True
    """Fast loop: let the C library keep freed memory, on Linux."""
    num_threads: int | None = Field(None, ge=1, le=4096)
    """CPU threads per process [threads]. Default: all cores, divided by the local processes."""
    process_timeout_s: float = Field(300.0, gt=0, le=86_400)
    """Longest wait for other processes, at the start and in each exchange, and for a batch of a
    data worker [seconds]."""
    target_accuracy: float | None = Field(None, gt=0, le=1)
    """Accuracy to time the run to [fraction]."""
    stop_at_target: bool = False
    """End the run at the target accuracy."""
    require_target: bool = False
    """Exit with status 3 if the target is not reached."""
    eval_every_steps: int | None = Field(None, ge=1, le=MAX_COUNT)
    """Steps between evaluations [steps]. Default: one epoch; with a target and no recipe, also at
    most 5 % of the steps so far, until the target was read twice in a row."""
    eval_batch_size: int = Field(1000, ge=1, le=MAX_COUNT)
    """Samples per forward pass of an evaluation [samples]."""
    eval_shift_px: int = Field(0, ge=0, le=14)
    """Evaluate the mean logits of each image and its four shifts by this distance [pixels]."""
    eval_shift_share: float = Field(1.0, gt=0, le=1)
    """Images of each batch of each process that are shifted: those whose two largest logits are
    closest [fraction]."""
    output_dir: str = Field("runs", min_length=1)
    """Parent folder; a run adds a subfolder."""
    anonymize: bool = False
    """Leave the names of host, user and their folders out of the record."""
    checkpoint_every_steps: int | None = Field(None, ge=1, le=MAX_COUNT)
    """Steps between checkpoints [steps]. Default: none but at a signal."""
    resume: str | None = Field(None, min_length=1)
    """Run to continue: latest (in --output-dir), or the folder of a run or a checkpoint."""
    force_code: bool = False
    """Continue a run although code of your own has changed since; the record says so."""
    on_checkpoint_error: Literal["stop", "continue"] = "stop"
    """What to do if a checkpoint cannot be saved, for example on a full disk."""
    profile: tuple[ProfileKind, ...] = ()
    """Profilers to run: torch (operator trace), memory (allocations), sampling (Python flame
    graph), nvtx (ranges for Nsight). A profiled run is not compared."""
    profile_steps: str | None = None
    """Steps A:B to profile, counted from 0, without B. Default: 5:10 for torch and memory, the
    second half for sampling and nvtx."""
    profile_details: tuple[Literal["shapes", "memory", "stacks", "flops"], ...] = (
        "shapes",
        "memory",
        "flops",
    )
    """What --profile torch records of each operator."""
    diagnose: bool = False
    """Measure after training what limits a step; this takes some seconds."""
    log_with: tuple[TrackerName, ...] = ()
    """Trackers that receive scalars at each evaluation, through Accelerate."""
    mllog: bool = False
    """Write MLPerf-style event lines to mllog.txt in the run's folder."""

    @property
    def target(self) -> Target | None:
        """The accuracy that a run is to reach, if any."""
        if self.target_accuracy is None:
            return None
        return Target(metric="accuracy", value=self.target_accuracy, split=self.eval_split)

    @model_validator(mode="before")
    @classmethod
    def _check_kinds(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for key, value in values.items():
            field = cls.model_fields.get(key)
            takes_bool = field is None or field.annotation in (bool, bool | None)
            if isinstance(value, bool) and not takes_bool:
                raise ValueError(f"{key}: should not be true or false; put a text in quotes")
        return values

    @model_validator(mode="after")
    def _check_arguments(self) -> Self:
        for field, arguments in ARGUMENTS_OF.items():
            if getattr(self, arguments) and not is_reference(getattr(self, field)):
                raise ValueError(
                    f"{arguments}: {field} {getattr(self, field)} takes none; only components of "
                    f"your own do, such as --{field} MODULE:NAME"
                )
        return self

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.global_batch_size is None and self.per_device_batch_size is None:
            self.__dict__["global_batch_size"] = _BATCH  # `model_fields_set` has what was given
        if self.val_size is None and not is_own(self.dataset):
            self.__dict__["val_size"] = _VAL_SIZE
        if self.global_batch_size is not None and self.per_device_batch_size is not None:
            raise ValueError("global_batch_size: set either this or per_device_batch_size")
        if self.lr_scaling != "none" and self.per_device_batch_size is None:
            raise ValueError("lr_scaling: has no effect without --per-device-batch-size")
        if self.eval_split == "val" and self.val_size == 0:
            raise ValueError("val_size: 0 leaves no val; use --val-size 10000 or --eval-split test")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: needs a momentum above 0")
        if len(set(self.augment)) != len(self.augment):
            raise ValueError("augment: names one change twice")
        if self.profile_steps is not None:
            found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", self.profile_steps, re.ASCII)
            first, last = map(int, found.groups()) if found else (0, 0)
            if not 1 <= first < last:  # the step before the first warms the profiler up
                raise ValueError("profile_steps: should be A:B with 1 <= A < B, such as 5:10")
        if self.target_accuracy is None and (self.require_target or self.stop_at_target):
            field = "require_target" if self.require_target else "stop_at_target"
            raise ValueError(f"{field}: needs --target-accuracy")
        check_known_split(self)
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # arguments are mappings

    def __setattr__(self, name: str, value: Any) -> None:
        raise InputError(f"{name}: a RunConfig is frozen; make another one with the other value")

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Those that differ from the defaults."""
        usual = RunConfig()
        for name, value in self:
            if value not in (getattr(usual, name), type(self).model_fields[name].default):
                yield name, value

    def __str__(self) -> str:
        return repr(self)
