"""Numbers as the text of sentences and cells."""

from __future__ import annotations

__all__ = ["NOT_MEASURED", "goal", "ms", "percent", "seconds"]

NOT_MEASURED = "–"


def percent(share: float) -> str:
    """A fraction as a percentage of two decimals, without its sign."""
    return f"{100 * share:.2f}"


def seconds(value: float) -> str:
    """Seconds of two decimals, without their unit."""
    return f"{value:.2f}"


def ms(value_s: float | None) -> str:
    """Seconds as milliseconds of three digits, without their unit; a dash for what is not known."""
    return NOT_MEASURED if value_s is None else f"{1000 * value_s:.3g}"


def goal(target: float) -> str:
    """A target accuracy as it was given: ``97 %``."""
    return f"{100 * target:.10g} %"
