"""What values of a run hang together: fields that only some choices read, and splits that fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnistbench.schema.component import ARGUMENTS_OF, is_own, is_reference
from mnistbench.schema.errors import InputError
from mnistbench.schema.workload_config import WorkloadConfig

OWN = "one of your own"
"""Stands in `APPLIES_TO` for every reference to code of the user's."""

TRAIN_IMAGES: Mapping[str, int] = {
    "mnist": 60_000,
    "fashion-mnist": 60_000,
    "kmnist": 60_000,
    "qmnist": 60_000,
    "emnist-digits": 240_000,
}
"""Images in each published training file; ``synthetic`` has as many as are asked for."""

FAST_LOOP_FIELDS = (
    "cuda_graph",
    "steps_per_graph",
    "batch_last",
    "exact_parity",
    "fused_optimizer",
    "matmul_precision",
    "flush_denormals",
    "reuse_memory",
)
"""Fields that say how the fast loop runs a step; none changes what it learns."""

APPLIES_TO: Mapping[str, tuple[str, frozenset[str]]] = {
    **dict.fromkeys(
        ("conv_layers", "linear_layers", "kernel_size", "pooling", "padding", "batch_norm"),
        ("model", frozenset({"cnn"})),
    ),
    "channels": ("model", frozenset({"cnn", "speedrun-cnn"})),
    "dropout": ("model", frozenset({"cnn", "mlp"})),
    "label_smoothing": ("loss", frozenset({"label-smoothing", "kl"})),
    "momentum": ("optimizer", frozenset({"sgd", "rmsprop", "muon"})),
    "nesterov": ("optimizer", frozenset({"sgd", "muon"})),
    "weight_decay": (
        "optimizer",
        frozenset({"sgd", "adam", "adamw", "adadelta", "rmsprop", "muon"}),
    ),
    "beta1": ("optimizer", frozenset({"adam", "adamw", "muon"})),
    "beta2": ("optimizer", frozenset({"adam", "adamw", "muon"})),
    "lr_warmup_steps": (
        "lr_schedule",
        frozenset({"constant", "step", "exponential", "cosine", "linear", OWN}),
    ),
    "lr_decay": ("lr_schedule", frozenset({"step", "exponential"})),
    "lr_decay_epochs": ("lr_schedule", frozenset({"step"})),
    "num_workers": ("loader", frozenset({"streaming"})),
    "synthetic_train_size": ("dataset", frozenset({"synthetic", "auto"})),
    "synthetic_seed": ("dataset", frozenset({"synthetic", "auto"})),
    "augment_shift_px": ("augment", frozenset({"shift"})),
    "augment_rotate_deg": ("augment", frozenset({"rotate"})),
    "augment_elastic_px": ("augment", frozenset({"elastic"})),
    "profile_steps": ("profile", frozenset({"torch", "memory", "sampling", "nvtx"})),
    "profile_details": ("profile", frozenset({"torch"})),
    **dict.fromkeys(
        (name for name in FAST_LOOP_FIELDS if name != "matmul_precision"),
        ("loop", frozenset({"fast"})),
    ),
}
"""Fields that only some choices of another field read: field -> (that field, those choices)."""


def is_read(name: str, values: Mapping[str, Any]) -> bool:
    """Whether the choices that `values` hold, of a record or a configuration, read field `name`."""
    if name not in APPLIES_TO:
        return True
    field, choices = APPLIES_TO[name]
    chosen = values[field] if isinstance(values[field], list | tuple) else [values[field]]
    return not choices.isdisjoint(OWN if is_reference(one) else str(one) for one in chosen)


def check_applies(given: Mapping[str, Any], config: WorkloadConfig) -> None:
    """Check that each field of `config` that was `given` is read.

    One that is read by nothing is a mistake of whoever asked for it; in a recipe or a file it is
    only unused.

    Raises:
        InputError: the choices of `config` do not read it.
    """
    if "eval_shift_share" in given and not getattr(config, "eval_shift_px", None):
        raise InputError("eval_shift_share: has no effect without --eval-shift-px")
    for name in [name for name in given if name in APPLIES_TO]:
        field = APPLIES_TO[name][0]
        if not is_read(name, {field: getattr(config, field)}):
            flag, value = f"--{field.replace('_', '-')}", getattr(config, field)
            without = f"with {flag} {value}" if value != () else f"without {flag}"
            raise InputError(f"{name}: has no effect {without}; {_mend(name, given[name], config)}")


def _mend(name: str, value: Any, config: WorkloadConfig) -> str:
    """What to write in place of `name`, which the chosen component does not read."""
    field, choices = APPLIES_TO[name]
    if field in ARGUMENTS_OF and is_reference(getattr(config, field)):
        arguments = f"--{field}-args {name}={str(value).lower()}"
        return f"if your own takes it, write {arguments}"
    return f"it is read by {', '.join(sorted(choices))}"


def num_val(config: WorkloadConfig, num_images: int) -> int:
    """Images of val, of a training file of `num_images`: by default a sixth, 10,000 at most."""
    return min(10_000, max(1, num_images // 6)) if config.val_size is None else config.val_size


def check_split(config: WorkloadConfig, num_images: int, *, num_processes: int = 1) -> None:
    """Check that a training file of `num_images` images holds val and one whole batch.

    Raises:
        InputError: no image, or less than a global batch, is left to train on.
    """
    num_train = num_images - num_val(config, num_images)
    if num_train < 1:
        raise InputError(
            f"val_size: {config.val_size} of {num_images} images leaves nothing to train on; "
            f"use at most {num_images - 1}"
        )
    batch = config.global_batch_size or (config.per_device_batch_size or 1) * num_processes
    if batch > num_train:
        field = "global_batch_size" if config.global_batch_size else "per_device_batch_size"
        raise InputError(
            f"{field}: a step of {batch} samples is larger than the training split "
            f"({num_train}); use a smaller batch"
        )


def check_known_split(config: WorkloadConfig, *, num_processes: int = 1) -> None:
    """`check_split` where the data set's size is known before it is read.

    Raises:
        InputError: as `check_split`.
    """
    if config.dataset == "synthetic":
        check_split(config, config.synthetic_train_size, num_processes=num_processes)
    elif config.dataset != "auto" and not is_own(config.dataset):
        check_split(config, TRAIN_IMAGES[config.dataset], num_processes=num_processes)


def check_batch(config: WorkloadConfig, num_processes: int) -> None:
    """Check that every process gets an equal part of a step's samples.

    Raises:
        InputError: the global batch does not divide by `num_processes`.
    """
    batch = config.global_batch_size
    if batch is None or batch % num_processes == 0:
        return
    below = batch - batch % num_processes
    sizes = f"{below} or {below + num_processes}" if below else str(num_processes)
    raise InputError(
        f"global_batch_size: {batch} samples cannot be shared equally by {num_processes} "
        f"processes; use --global-batch-size {sizes}"
    )
