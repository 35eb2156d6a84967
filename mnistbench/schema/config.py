"""What a run is told: one frozen, validated set of values.

Each field states its range and one sentence, with its unit; the command line, its help and the
YAML reader are all made from these declarations. Names of networks, losses and the like come from
``mnistbench.schema.names``, so nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mnistbench.schema.config_rules import check_known_split, check_together
from mnistbench.schema.errors import InputError, one_line
from mnistbench.schema.names import (
    AugmentName,
    DatasetChoice,
    LossName,
    ModelName,
    OptimizerName,
    RecipeName,
    ScheduleName,
)

__all__ = ["RunConfig", "config_from"]

_MAX_COUNT = 2**31 - 1


class RunConfig(BaseModel):
    """Everything that decides a run; keyword-only, immutable, valid once it exists.

    Raises:
        pydantic.ValidationError: a value is of the wrong type or range, or two contradict each
            other. `config_from` gives the same as one `InputError` line.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    recipe: RecipeName | None = Field(
        None, description="Recipe that the other values start from; see --list-recipes."
    )

    dataset: DatasetChoice = Field(
        "auto",
        description="Data set; auto is MNIST found or downloaded, else the generated digits.",
    )
    data_dir: str | None = Field(
        None,
        min_length=1,
        description="Folder of the data sets; none is $MNISTBENCH_DATA_DIR, else the user's cache.",
    )
    synthetic_train_size: int = Field(
        60_000, ge=1, le=_MAX_COUNT, description="Images in the generated training file [images]."
    )
    synthetic_seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the generated digits, apart from the run's seed."
    )
    val_size: int = Field(
        10_000, ge=0, le=_MAX_COUNT, description="Last images of training kept for val [images]."
    )
    eval_split: Literal["val", "test"] = Field(
        "val", description="Split read while training; test only to repeat a published protocol."
    )
    pixel_mean: float | None = Field(
        None, ge=0, le=1, description="Mean taken off pixels in [0, 1]; none is the data set's own."
    )
    pixel_std: float | None = Field(
        None, gt=0, le=1, description="Deviation dividing pixels; none is the data set's own."
    )
    loader: Literal["streaming", "resident", "mapped"] = Field(
        "resident",
        description="Read through a DataLoader, keep the whole set on the device, or gather from a "
        "memory-mapped file, for sets larger than memory or device.",
    )
    num_workers: int = Field(
        0, ge=0, le=256, description="Worker processes of the streaming loader [processes]."
    )
    augment: tuple[AugmentName, ...] = Field(
        (), description="Random changes made to training images on the device."
    )
    augment_shift_px: int = Field(
        2, ge=1, le=14, description="Largest shift each way, when shift is on [pixels]."
    )
    augment_rotate_deg: float = Field(
        10.0, gt=0, le=180, description="Largest turn each way, when rotate is on [degrees]."
    )
    augment_elastic_px: float = Field(
        1.0, gt=0, le=14, description="Deviation of the elastic grid, when it is on [pixels]."
    )

    model: ModelName = Field("simple-cnn", description="Network to train.")
    conv_layers: int = Field(2, ge=2, le=4, description="Convolutions of model cnn [layers].")
    linear_layers: int = Field(2, ge=2, le=4, description="Linear layers of model cnn [layers].")
    channels: int = Field(
        16,
        ge=1,
        le=1024,
        description="First convolution's channels in models cnn and speedrun-cnn.",
    )
    kernel_size: int = Field(
        3, ge=1, le=64, description="Side of model cnn's square kernels [pixels]."
    )
    pooling: Literal["max", "average", "stride"] = Field(
        "max", description="How model cnn halves the image: pooling, or a convolution of stride 2."
    )
    padding: Literal["same", "valid"] = Field(
        "same", description="Whether model cnn's convolutions keep the image's size."
    )
    batch_norm: bool = Field(False, description="Batch norm after model cnn's convolutions.")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of hidden units dropped in models cnn and mlp."
    )

    loss: LossName = Field("cross-entropy", description="Loss to minimise.")
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="Mass spread over all classes by losses label-smoothing, kl."
    )
    optimizer: OptimizerName = Field("sgd", description="Optimizer.")
    lr: float = Field(0.01, gt=0, le=1e4, description="Learning rate at the schedule's peak.")
    momentum: float = Field(
        0.5, ge=0, lt=1, description="Momentum of sgd, rmsprop and muon [share kept per step]."
    )
    nesterov: bool = Field(False, description="Nesterov momentum in sgd and muon.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the mean gradient.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's decay of the squared gradient.")
    weight_decay: float = Field(0.0, ge=0, le=10, description="Weight decay of the optimizer.")
    lr_schedule: ScheduleName = Field(
        "constant", description="Learning rate over the run, worked out from the step number."
    )
    lr_warmup_steps: int = Field(
        0,
        ge=0,
        le=_MAX_COUNT,
        description="Steps of linear rise before any schedule but one-cycle [steps].",
    )
    lr_decay: float = Field(
        0.7, gt=0, le=1, description="Factor of the schedules step and exponential [per decay]."
    )
    lr_decay_epochs: int = Field(
        1, ge=1, le=_MAX_COUNT, description="Epochs between decays of schedule step [epochs]."
    )
    num_epochs: int = Field(
        10, ge=1, le=_MAX_COUNT, description="Passes over the training split [epochs]."
    )
    max_steps: int | None = Field(
        None, ge=1, le=_MAX_COUNT, description="End after so many steps, if sooner [steps]."
    )
    global_batch_size: int | None = Field(
        None,
        ge=1,
        le=_MAX_COUNT,
        description="Samples in a step over all processes [samples]; 64 unless per-device is set.",
    )
    per_device_batch_size: int | None = Field(
        None, ge=1, le=_MAX_COUNT, description="Samples in a step on each process [samples]."
    )
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        le=_MAX_COUNT,
        description="Batches that each process cuts its part of a step into, to save memory: same "
        "samples, and same curve but for batch norm and dropout [batches].",
    )
    lr_scaling: Literal["none", "sqrt", "linear"] = Field(
        "none",
        description="With --per-device-batch-size: lr times the processes, or times their root.",
    )

    seed: int = Field(0, ge=0, lt=2**31, description="Seed of weights, order and noise.")
    num_seeds: int = Field(
        1, ge=1, le=100_000, description="Runs to make, with the seeds that follow --seed [runs]."
    )
    mixed_precision: Literal["no", "bf16", "fp16", "fp8"] | None = Field(
        None, description="Arithmetic of the model; none is the launcher's choice."
    )
    loop: Literal["fast", "stock"] = Field(
        "fast", description="Training loop: stock makes each step by Accelerate's own calls."
    )
    channels_last: bool = Field(
        True, description="Keep channels innermost in memory, which convolutions are faster with."
    )
    compile: bool | None = Field(
        None,
        description="Compile the fast loop's step, or stock's model, outside the train clock; none "
        "compiles with --batch-last on the CPU, where it pays.",
    )
    cuda_graph: bool = Field(
        True, description="Capture the fast loop's step as a CUDA graph, where there is CUDA."
    )
    steps_per_graph: int = Field(
        1, ge=1, le=1000, description="Steps in one CUDA graph of the fast loop [steps]."
    )
    batch_last: bool = Field(
        False,
        description="Fast loop: run with the batch innermost, convolving by matrix products.",
    )
    exact_parity: bool = Field(
        False,
        description="Fast loop: add gradients in one fixed order: the same bits where processes "
        "times accumulated batches are the same power of two.",
    )
    fused_optimizer: bool = Field(
        True, description="Fast loop: update all weights in one kernel, where torch has it."
    )
    matmul_precision: Literal["highest", "high", "medium"] = Field(
        "highest",
        description="Fast loop: torch's float32_matmul_precision; below highest, fp32 products may "
        "run in TF32 or bf16.",
    )
    flush_denormals: bool = Field(
        True, description="Fast loop: count numbers below 1.2e-38 as 0, on the CPU."
    )
    reuse_memory: bool = Field(
        True, description="Fast loop: let the C library keep freed memory, on Linux."
    )
    num_threads: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="CPU threads per process; none is all cores divided over the local processes.",
    )
    process_timeout_s: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="Longest wait for the other processes, to meet and in each exchange [seconds].",
    )
    target_accuracy: float | None = Field(
        None, gt=0, le=1, description="Accuracy to time the run to [fraction]."
    )
    stop_at_target: bool = Field(False, description="End the run at the target accuracy.")
    require_target: bool = Field(False, description="Exit with status 3 if it is not reached.")
    eval_every_steps: int | None = Field(
        None, ge=1, le=_MAX_COUNT, description="Steps between evaluations; none is each epoch."
    )
    eval_batch_size: int = Field(
        1000, ge=1, le=_MAX_COUNT, description="Samples per forward pass of an evaluation."
    )
    eval_shift_px: int = Field(
        0,
        ge=0,
        le=14,
        description="Evaluate by the mean logits of an image and its four shifts so far [pixels].",
    )
    output_dir: str = Field("runs", min_length=1, description="Folder that gets one per run.")
    checkpoint_every_steps: int | None = Field(
        None,
        ge=1,
        le=_MAX_COUNT,
        description="Steps between checkpoints; none saves only at a signal [steps].",
    )
    resume: str | None = Field(
        None,
        min_length=1,
        description="Go on: latest (of --output-dir), or the folder of a run or checkpoint.",
    )
    on_checkpoint_error: Literal["stop", "continue"] = Field(
        "stop", description="What to do where a checkpoint cannot be saved, such as on a full disk."
    )
    anonymize: bool = Field(
        False, description="Leave names of host, user and their folders out of the record."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for key, value in values.items():
            field = cls.model_fields.get(key)
            takes_bool = field is None or field.annotation in (bool, bool | None)
            if isinstance(value, bool) and not takes_bool:
                raise ValueError(f"{key}: should not be true or false")
        if values.get("global_batch_size") is None and values.get("per_device_batch_size") is None:
            return values | {"global_batch_size": 64}
        return values

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        check_together(self)
        check_known_split(self)
        return self


def config_from(values: Mapping[str, Any]) -> RunConfig:
    """Validate `values` (field name -> value) into a `RunConfig`.

    Raises:
        InputError: one line naming the first wrong field, what is wrong and its value.
    """
    try:
        return RunConfig(**values)
    except ValidationError as error:
        raise InputError(one_line(error)) from None
