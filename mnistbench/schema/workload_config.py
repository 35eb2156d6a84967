"""What a run is told of its workload: data, network, loss, optimizer and how long it trains.

The first part of `mnistbench.schema.config.RunConfig`, whose rules hold here too.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mnistbench.schema.component import (
    Arguments,
    DatasetRef,
    LossRef,
    ModelRef,
    OptimizerRef,
    ScheduleRef,
)
from mnistbench.schema.names import AugmentName, RecipeName

MAX_COUNT = 2**31 - 1


class WorkloadConfig(BaseModel):
    """What is trained; keyword-only, immutable, valid once it exists."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    recipe: RecipeName | None = None
    """Recipe to start from (--list-recipes)."""

    dataset: DatasetRef = "auto"
    """Data set, or FILE.npz, FOLDER/ or MODULE:FUNCTION; auto finds or downloads MNIST, else uses
    synthetic."""
    dataset_args: Arguments = {}
    """Arguments of your own --dataset."""
    data_dir: str | None = Field(None, min_length=1)
    """Folder of the data sets. Default: $MNISTBENCH_DATA_DIR, else the user's cache."""
    synthetic_train_size: int = Field(60_000, ge=1, le=MAX_COUNT)
    """Images in the generated training file [images]."""
    synthetic_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the generated digits; it is not the run's seed."""
    val_size: int | None = Field(None, ge=0, le=MAX_COUNT)
    """Images taken from the end of the training file for val [images]. Default: 10000; of data of
    your own at most a sixth."""
    eval_split: Literal["val", "test"] = "val"
    """Split evaluated during training; use test only to repeat a published protocol."""
    pixel_mean: float | None = Field(None, ge=0, le=1)
    """Mean subtracted from pixels in [0, 1]. Default: the data set's own."""
    pixel_std: float | None = Field(None, gt=0, le=1)
    """Standard deviation that divides pixels. Default: the data set's own."""
    loader: Literal["streaming", "resident", "mapped"] = "resident"
    """How batches are read: streaming uses a DataLoader, resident keeps the set on the device,
    mapped gathers from a memory-mapped file, for sets larger than memory or device."""
    num_workers: int = Field(0, ge=0, le=256)
    """Worker processes of the streaming loader [processes]."""
    augment: tuple[AugmentName, ...] = ()
    """Random changes to training images, made on the device."""
    augment_shift_px: int = Field(2, ge=1, le=14)
    """Largest shift in each direction, for augment shift [pixels]."""
    augment_rotate_deg: float = Field(10.0, gt=0, le=180)
    """Largest rotation in each direction, for augment rotate [degrees]."""
    augment_elastic_px: float = Field(1.0, gt=0, le=14)
    """Standard deviation of the displacements, for augment elastic [pixels]."""

    model: ModelRef = "simple-cnn"
    """Network, or your own MODULE:CLASS."""
    model_args: Arguments = {}
    """Arguments of your own --model, such as width=32; each replaces that of --config."""
    conv_layers: int = Field(2, ge=2, le=4)
    """Convolutions of model cnn [layers]."""
    linear_layers: int = Field(2, ge=2, le=4)
    """Linear layers of model cnn [layers]."""
    channels: int = Field(16, ge=1, le=1024)
    """Channels of the first convolution in models cnn and speedrun-cnn [channels]."""
    kernel_size: int = Field(3, ge=1, le=64)
    """Side of the square kernels of model cnn [pixels]."""
    pooling: Literal["max", "average", "stride"] = "max"
    """How model cnn halves the image; stride is a convolution of stride 2."""
    padding: Literal["same", "valid"] = "same"
    """Padding of the convolutions of model cnn; same keeps the image's size."""
    batch_norm: bool = False
    """Use batch norm after the convolutions of model cnn."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of hidden units dropped in models cnn and mlp [fraction]."""

    loss: LossRef = "cross-entropy"
    """Loss, or your own MODULE:FUNCTION."""
    loss_args: Arguments = {}
    """Arguments of your own --loss."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Probability spread over all classes by losses label-smoothing and kl [fraction]."""
    optimizer: OptimizerRef = "sgd"
    """Optimizer, or your own MODULE:CLASS, such as torch.optim:NAdam."""
    optimizer_args: Arguments = {}
    """Arguments of your own --optimizer, beside lr."""
    lr: float = Field(0.01, gt=0, le=1e4)
    """Learning rate at the schedule's peak."""
    momentum: float = Field(0.5, ge=0, lt=1)
    """Momentum of sgd, rmsprop and muon [fraction per step]."""
    nesterov: bool = False
    """Use Nesterov momentum in sgd and muon."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay rate of Adam's mean gradient [fraction per step]."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay rate of Adam's squared gradient [fraction per step]."""
    weight_decay: float = Field(0.0, ge=0, le=10)
    """Weight decay of a built-in optimizer."""
    lr_schedule: ScheduleRef = "constant"
    """Schedule of the learning rate by step, or your own MODULE:FUNCTION."""
    lr_warmup_steps: int = Field(0, ge=0, le=MAX_COUNT)
    """Steps of linear warm-up, for all schedules but one-cycle [steps]."""
    lr_decay: float = Field(0.7, gt=0, le=1)
    """Factor of each decay, for schedules step and exponential."""
    lr_decay_epochs: int = Field(1, ge=1, le=MAX_COUNT)
    """Epochs between decays, for schedule step [epochs]."""
    num_epochs: int = Field(10, ge=1, le=MAX_COUNT)
    """Passes over the training split [epochs]."""
    max_steps: int | None = Field(None, ge=1, le=MAX_COUNT)
    """Largest number of steps [steps]."""
    global_batch_size: int | None = Field(None, ge=1, le=MAX_COUNT)
    """Samples per step over all processes [samples]. Default: 64, unless --per-device-batch-size is
    set."""
    per_device_batch_size: int | None = Field(None, ge=1, le=MAX_COUNT)
    """Samples per step on each process [samples]."""
    gradient_accumulation_steps: int = Field(1, ge=1, le=MAX_COUNT)
    """Batches into which each process splits its samples of a step, to save memory; the curve stays
    the same, except for batch norm and dropout [batches]."""
    lr_scaling: Literal["none", "sqrt", "linear"] = "none"
    """With --per-device-batch-size: multiply lr by the number of processes (linear) or by its
    square root (sqrt)."""
