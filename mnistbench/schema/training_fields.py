"""Which configuration fields decide how a run learns, and which only where and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import APPLIES_TO, FAST_LOOP_FIELDS, is_read

BOOKKEEPING = frozenset(
    {
        "data_dir",
        "output_dir",
        "process_timeout_s",
        "require_target",
        "checkpoint_every_steps",
        "resume",
        "force_code",
        "on_checkpoint_error",
        "diagnose",
        "log_with",
        "mllog",
        "anonymize",
    }
)
"""Fields that change neither what a run does nor how fast: a resumed run may have others."""

NOT_TRAINING = frozenset(
    {
        "recipe",
        "dataset",
        "seed",
        "num_seeds",
        "loader",
        "num_workers",
        "num_threads",
        "loop",
        "channels_last",
        "compile",
        *FAST_LOOP_FIELDS,
        "target_accuracy",
        "eval_batch_size",
        "profile",
        "profile_steps",
        "profile_details",
        *BOOKKEEPING,
    }
)
"""Fields that choose data, machine or report, not how a recipe trains."""

SAME_RUN = BOOKKEEPING | {"seed", "num_seeds", "eval_batch_size"}
"""Fields in which the runs of one group may differ: they are runs of one configuration still."""

_NOT_THE_CURVE = NOT_TRAINING | {
    "mixed_precision",
    "stop_at_target",
    "eval_every_steps",
    # told by the data that was read and by the batch that was used
    "val_size",
    "eval_split",
    "synthetic_train_size",
    "synthetic_seed",
    "global_batch_size",
    "per_device_batch_size",
}
_LENGTH = {"num_epochs", "max_steps"}
_BLIND_TO_LENGTH = {"constant", "step", "exponential"}
"""Schedules whose learning rate at a step does not depend on how long the run is."""


def curve_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `config` that decide a run's curve, given its data, split and batch.

    Two runs with equal settings draw the same curve but for their seed, however fast each is, and
    as far as both go. What the model, loss, optimizer, schedule or augmentation does not read is
    left out. A key that `config` lacks counts as `RunConfig`'s default, so that fields added later
    keep older records and references comparable.

    Args:
        config: as ``record.json`` holds it, or what this function made of that.
    """
    values = RunConfig().model_dump(mode="json") | dict(config)
    left_out = set(_NOT_THE_CURVE) | {name for name in APPLIES_TO if not is_read(name, values)}
    if values["lr_schedule"] in _BLIND_TO_LENGTH:
        left_out |= _LENGTH
    return {name: value for name, value in values.items() if name not in left_out}


def as_left_to_the_run(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """`config` of a record, where ``cuda_graph`` is none unless it was off.

    It was true by default once, and a run that asks for it does what others do unasked.
    """
    return {**config, "cuda_graph": None} if config.get("cuda_graph") else config
