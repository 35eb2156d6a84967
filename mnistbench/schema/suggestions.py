"""What somebody may have meant: the known name nearest to one that is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

_SYNONYMS: Mapping[str, set[str]] = {
    "bce": {"bce_with_logits"},
    "cross-entropy": {"ce", "nll"},
    "dataset": {"data"},
    "data_dir": {"data"},
    "global_batch_size": {"batch", "batch_size", "bs"},
    "lr": {"learning_rate"},
    "lr_decay": {"gamma"},
    "lr_warmup_steps": {"warmup"},
    "max_steps": {"steps"},
    "mixed_precision": {"amp", "dtype", "precision"},
    "model": {"arch", "architecture", "net", "network"},
    "num_epochs": {"epoch", "epochs"},
    "num_seeds": {"seeds"},
    "per_device_batch_size": {"batch", "batch_size", "bs"},
    "samples_per_s": {"speed", "throughput"},
    "target_accuracy": {"acc", "accuracy", "target"},
    "test_accuracy": {"acc", "accuracy"},
    "time_to_accuracy_s": {"time"},
    "wall_s": {"time"},
    "val_accuracy": {"acc", "accuracy"},
    "weight_decay": {"wd"},
}
"""Fields, choices and metrics -> their names in other tools, where these are not alike."""

_LONGEST = 80  # letters of a word that is compared
_DEVICE = "; Accelerate chooses the device; for the CPU, set ACCELERATE_USE_CPU=true"


def did_you_mean(word: object, names: Iterable[str], *, flag: bool = False) -> str:
    """``; did you mean X?`` with what of `names` is nearest to `word`, or nothing if none is near.

    With `flag` names are spelled as flags: ``--num-epochs``.
    """
    if not isinstance(word, str) or len(word) > _LONGEST:
        return ""
    typed = word.lower().replace("-", "_")
    spelled = {name.lower().replace("-", "_"): name for name in names}
    if typed in {"cpu", "cuda", "device", "gpu"} and "mixed_precision" in spelled:
        return _DEVICE  # among settings of a run
    synonyms = (name for name, words in _SYNONYMS.items() if typed in words)
    near = [its for its in (name.replace("-", "_") for name in synonyms) if its in spelled]
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
