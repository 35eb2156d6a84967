"""What a loop says that it evaluated, as numbers."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from mnistbench.recorder.loop_settings import checked_name
from mnistbench.schema.errors import InputError
from mnistbench.schema.open_mappings import MetricName
from mnistbench.schema.suggestions import use_a_fraction

__all__ = ["metric_values"]

_ROUNDING = 1e-5
"""How far a mean of fractions in fp32 gets above 1."""


def metric_values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """`metrics` as floats, which may be NaN or infinite.

    Raises:
        InputError: there is none, one is no number, or an accuracy is no fraction.
    """
    if not metrics:
        raise InputError("evaluated: should be given metrics, such as accuracy=0.97")
    values = {
        checked_name(name, "evaluated", MetricName): _number(name, value)
        for name, value in metrics.items()
    }
    accuracy = values.get("accuracy", 0.0)
    if 1 < accuracy < 1 + _ROUNDING:
        values["accuracy"] = accuracy = 1.0
    if not 0 <= accuracy <= 1 and accuracy == accuracy:  # noqa: PLR0124 - NaN is said otherwise
        raise InputError(
            f"accuracy: should be from 0 to 1 (got {accuracy:g}){use_a_fraction(accuracy, 1)}"
        )
    return values


def _number(name: str, value: Any) -> float:
    """A number, or what a tensor or an array of one holds."""
    number = value
    if not isinstance(value, numbers.Real) and hasattr(value, "item"):
        try:
            number = value.item()
        except (TypeError, ValueError, RuntimeError):  # it holds several
            number = None
    if not isinstance(number, numbers.Real) or isinstance(number, bool):
        shape = getattr(value, "shape", None)
        got = f"{type(value).__name__} of shape {tuple(shape)}" if shape else repr(value)[:90]
        raise InputError(f"{name}: should be a number (got {got})")
    try:
        return float(number)
    except OverflowError:
        raise InputError(f"{name}: is larger than any float") from None
