"""Numbers as the text of sentences and cells, and as what tells names apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mnistbench.schema.target import Target

NOT_MEASURED = "–"
WALL_NOTE = (
    "wall s leaves out start s: import, startup and data, which the seeds of a command share"
)


def seconds(value: float) -> str:
    """Seconds of two decimals, without their unit."""
    return f"{value:.2f}"


def ms(value_s: float | None) -> str:
    """Seconds as milliseconds of three digits, without their unit; a dash for what is not known."""
    return NOT_MEASURED if value_s is None else f"{1000 * value_s:.3g}"


def goal(target: Target | float | None) -> str:
    """A target as it was given, of an accuracy as ``97 %``, else as ``perplexity ≤ 20``."""
    if target is None:
        return "target"
    if isinstance(target, Target):
        if target.metric != "accuracy" or not target.higher_is_better:
            sign = "≥" if target.higher_is_better else "≤"
            return f"{target.metric} {sign} {target.value:.10g}"
        target = target.value
    return f"{100 * target:.10g} %"


def count(value: float) -> str:
    """A number of three digits, or whole: ``0.384``, ``10``, ``1234``."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def setting_text(value: Any, *, none: str = NOT_MEASURED) -> str:
    """A value of a configuration as a sweep takes it: ``true``, ``torch+memory``."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value)) or "none"
    text = none if value is None else str(value)
    return text.lower() if isinstance(value, bool) else text


def numbered(names: Iterable[str]) -> list[str]:
    """`names`, those that come more than once as ``name #1``, ``name #2`` in their order."""
    names = list(names)
    total, seen = Counter(names), Counter[str]()
    told = []
    for name in names:
        seen[name] += 1
        told.append(name if total[name] == 1 else f"{name} #{seen[name]}")
    return told


def told_apart(names: Sequence[str], texts: Sequence[str]) -> list[str]:
    """`names`, with their `texts` where these differ for one name: ``name, text``."""
    told: dict[str, set[str]] = {}
    for name, text in zip(names, texts, strict=True):
        told.setdefault(name, set()).add(text)
    return [
        f"{name}, {text}" if text and len(told[name]) > 1 else name
        for name, text in zip(names, texts, strict=True)
    ]
