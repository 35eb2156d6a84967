"""What was seen of the profiled steps of a run: where their time went, and in which files it is."""

from __future__ import annotations

from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.output.screen import WIDE, Screen
from mnistbench.output.tables import TableFormat
from mnistbench.schema.insight import OperatorTime, Profile
from mnistbench.schema.record import RunRecord

_MOST_ROWS = 12


def render_profile(
    record: RunRecord, table_format: TableFormat = "table", *, screen: Screen = WIDE
) -> str | None:
    """`profile_line`, a table of the operators that took longest, and the files of a profiled run.

    ``None`` for a run that was not profiled.
    """
    profile = record.profile
    if profile is None:
        return None
    rows = operator_rows(profile)
    screen = screen.in_format(table_format)
    files = [f"in {record.run_id}: {', '.join(profile.files)}"] if profile.files else []
    table = [screen.table(rows, names=["operator"])] if rows else []
    return screen.end.join([screen.text(profile_line(profile)), *table, *map(screen.text, files)])


def profile_line(profile: Profile) -> str:
    """What was watched, and what that cost."""
    what = ", ".join([*profile.kinds, *profile.hooks])
    if profile.first_step is None or profile.end_step is None:
        return f"every step was watched ({what}): in no comparison"
    which = f"steps {profile.first_step}:{profile.end_step} were profiled ({what})"
    if profile.slowdown is None:
        return f"{which}: in no comparison"
    return f"{which} and took {profile.slowdown:.2f} times as long as others: in no comparison"


def operator_rows(profile: Profile) -> list[dict[str, str]]:
    """A row for each of the operators that took longest by themselves, in all profiled steps."""
    on_device = any(operator.device_s for operator in profile.operators)
    total_s = sum(_own_s(operator, on_device) for operator in profile.operators)
    return [
        {
            "operator": operator.name,
            "calls": f"{operator.calls:,}",
            "device ms" if on_device else "cpu ms": f"{1e3 * _own_s(operator, on_device):.3g}",
            "share %": f"{100 * _own_s(operator, on_device) / total_s:.1f}"
            if total_s
            else NOT_MEASURED,
            "MiB": _per(operator.memory_bytes, 2**20),
            "GFLOP": _per(operator.flops, 1e9),
        }
        for operator in profile.operators[:_MOST_ROWS]
    ]


def _own_s(operator: OperatorTime, on_device: bool) -> float:
    return (operator.device_s or 0.0) if on_device else operator.cpu_s


def _per(value: float | None, unit: float) -> str:
    return NOT_MEASURED if value is None else f"{value / unit:.3g}"
