"""What a run is told of its workload: data, network, loss, optimizer and how long it trains.

The first part of `mnistbench.schema.config.RunConfig`, whose rules hold here too.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mnistbench.schema.names import (
    AugmentName,
    DatasetChoice,
    LossName,
    ModelName,
    OptimizerName,
    RecipeName,
    ScheduleName,
)

__all__ = ["MAX_COUNT", "WorkloadConfig"]

MAX_COUNT = 2**31 - 1


class WorkloadConfig(BaseModel):
    """What is trained; keyword-only, immutable, valid once it exists."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    recipe: RecipeName | None = Field(
        None, description="Recipe that the other values start from; see --list-recipes."
    )

    dataset: DatasetChoice = Field(
        "auto",
        description="Data set; auto is MNIST found or downloaded, else, where nothing is found, "
        "the generated digits.",
    )
    data_dir: str | None = Field(
        None,
        min_length=1,
        description="Folder of the data sets; none is $MNISTBENCH_DATA_DIR, else the user's cache.",
    )
    synthetic_train_size: int = Field(
        60_000, ge=1, le=MAX_COUNT, description="Images in the generated training file [images]."
    )
    synthetic_seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the generated digits, apart from the run's seed."
    )
    val_size: int = Field(
        10_000, ge=0, le=MAX_COUNT, description="Last images of training kept for val [images]."
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
        le=MAX_COUNT,
        description="Steps of linear rise before any schedule but one-cycle [steps].",
    )
    lr_decay: float = Field(
        0.7, gt=0, le=1, description="Factor of the schedules step and exponential [per decay]."
    )
    lr_decay_epochs: int = Field(
        1, ge=1, le=MAX_COUNT, description="Epochs between decays of schedule step [epochs]."
    )
    num_epochs: int = Field(
        10, ge=1, le=MAX_COUNT, description="Passes over the training split [epochs]."
    )
    max_steps: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="End after so many steps, if sooner [steps]."
    )
    global_batch_size: int | None = Field(
        None,
        ge=1,
        le=MAX_COUNT,
        description="Samples in a step over all processes [samples]; 64 unless per-device is set.",
    )
    per_device_batch_size: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Samples in a step on each process [samples]."
    )
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        le=MAX_COUNT,
        description="Batches that each process cuts its part of a step into, to save memory: same "
        "samples, and same curve but for batch norm and dropout [batches].",
    )
    lr_scaling: Literal["none", "sqrt", "linear"] = Field(
        "none",
        description="With --per-device-batch-size: lr times the processes, or times their root.",
    )
