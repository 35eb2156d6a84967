"""What somebody may have meant: the known name nearest to one that is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["did_you_mean", "use_a_fraction"]

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "acc": ("test_accuracy", "target_accuracy"),
    "accuracy": ("target_accuracy", "test_accuracy", "val_accuracy"),
    "amp": ("mixed_precision",),
    "arch": ("model",),
    "architecture": ("model",),
    "batch": ("global_batch_size", "per_device_batch_size"),
    "batch_size": ("global_batch_size", "per_device_batch_size"),
    "bce_with_logits": ("bce",),
    "bs": ("global_batch_size", "per_device_batch_size"),
    "ce": ("cross-entropy",),
    "data": ("dataset", "data_dir"),
    "dtype": ("mixed_precision",),
    "epoch": ("num_epochs",),
    "epochs": ("num_epochs",),
    "fashion": ("fashion-mnist",),
    "gamma": ("lr_decay",),
    "learning_rate": ("lr",),
    "net": ("model",),
    "network": ("model",),
    "nll": ("cross-entropy",),
    "optim": ("optimizer",),
    "out": ("output_dir",),
    "output": ("output_dir",),
    "precision": ("mixed_precision",),
    "samples": ("samples_per_s",),
    "scheduler": ("lr_schedule",),
    "seeds": ("num_seeds", "seed"),
    "speed": ("samples_per_s",),
    "steps": ("max_steps",),
    "target": ("target_accuracy", "targets"),
    "threads": ("num_threads",),
    "throughput": ("samples_per_s",),
    "time": ("time_to_accuracy_s", "wall_s"),
    "warmup": ("lr_warmup_steps",),
    "warmup_steps": ("lr_warmup_steps",),
    "wd": ("weight_decay",),
    "workers": ("num_workers",),
}
"""Names of other tools for fields, choices and metrics."""

_LONGEST = 80  # letters of a word that is compared
_DEVICE = "Accelerate chooses the device; for the CPU, set ACCELERATE_USE_CPU=true"
_ELSEWHERE = dict.fromkeys(("cpu", "cuda", "device", "gpu"), _DEVICE)
"""What is set in another way."""


def did_you_mean(word: object, names: Iterable[str], *, flag: bool = False) -> str:
    """``; did you mean X?`` with the nearest of `names`, or an empty text if none is near.

    Args:
        word: what was typed.
        names: what would be known.
        flag: whether names are spelled as flags, ``--num-epochs``.
    """
    if not isinstance(word, str) or len(word) > _LONGEST:
        return ""
    typed = word.lower().replace("-", "_")
    if typed in _ELSEWHERE:
        return f"; {_ELSEWHERE[typed]}"
    spelled = {name.lower().replace("-", "_"): name for name in names}
    synonyms = (name.replace("-", "_") for name in _SYNONYMS.get(typed, ()))
    near = [name for name in synonyms if name in spelled]
    if not near and len(typed) > 1:
        near = difflib.get_close_matches(typed, spelled, n=1, cutoff=0.65)
        near = near or [name for name in spelled if name.startswith(typed)][:2]
    found = [f"--{name.replace('_', '-')}" if flag else spelled[name] for name in near]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def use_a_fraction(value: Any, highest: float) -> str:
    """``; use a fraction: 0.97`` for 97, where at most 1 is allowed, and for 97 % anywhere."""
    is_share = isinstance(value, str) and value.endswith("%")
    try:
        number = float(value.rstrip("% ") if is_share else value)
    except (TypeError, ValueError, OverflowError):
        return ""
    meant = 0 <= number <= 100 if is_share else highest <= 1 and 2 <= number <= 100
    return f"; use a fraction: {number / 100:g}" if meant else ""
