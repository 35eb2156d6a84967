"""What groups of runs are called: a short name of each, or columns that tell them apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mnistbench.analysis.differences import settings_of
from mnistbench.analysis.grouping import differences, identify, run_name, settings_apart
from mnistbench.analysis.number_text import numbered, setting_text, told_apart
from mnistbench.schema.component import short_name
from mnistbench.schema.escaping import brief
from mnistbench.schema.record import RunRecord

_LONGEST = 60
_MOST_COLUMNS = 6
_SHORT = {"global_batch_size": "batch"}


def name_columns(
    groups: Sequence[Sequence[RunRecord]], *, taken: Collection[str] = ()
) -> list[dict[str, str]]:
    """What each group is called, and the settings that set groups apart: no two the same.

    The name is the recipe, or short model and loss, or of other loops the workload's. Where such
    settings are many, they are in one column. A setting of another loop, which may be called as a
    column that is `taken`, is ``config.NAME``.
    """
    firsts = [group[0] for group in groups]
    told, foreign = ("model", "loss"), [r.is_foreign for r in firsts]
    bare = not any(foreign) and all(
        r.recipe is None and all(map(r.config.get, told)) for r in firsts
    )
    head = "workload" if any(foreign) else "recipe"
    apart = settings_apart(groups)
    if len(apart[0]) > _MOST_COLUMNS:
        apart = [{"differs in": text} for text in differences(groups)]
    given = {key for record in firsts if record.is_foreign for key in settings_of(record)}
    clash = given.intersection([*taken, head, "run"])
    heads = {k: f"config.{k}" if k in clash else _SHORT.get(k, k) for k in apart[0]}
    named = [
        {k: short_name(str(r.config[k])) for k in told} if bare else {head: run_name(r)}
        for r in firsts
    ]
    rows = [
        name | {heads[k]: v for k, v in settings.items()}
        for name, settings in zip(named, apart, strict=True)
    ]
    for name, texts in _seen(groups).items():
        if len(set(texts)) > 1:
            rows = [row | {name: text} for row, text in zip(rows, texts, strict=True)]
    first = next(iter(rows[0]))
    again = numbered("\0".join(row.values()) for row in rows)
    for row, name in zip(rows, again, strict=True):
        row[first] += name.removeprefix("\0".join(row.values()))
    return rows


def row_names(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """No two the same: the recipe or model and loss, then only what sets groups of one name apart.

    That is the settings that no column shows, then device and precision, then a number.
    """
    names = [brief(run_name(group[0]), _LONGEST) for group in groups]
    settings = [text.replace("global_batch_size", "batch") for text in differences(groups)]
    for texts in (settings, *_seen(groups).values()):
        names = [brief(name, _LONGEST) for name in told_apart(names, texts)]
    return numbered(names)


def _seen(groups: Sequence[Sequence[RunRecord]]) -> dict[str, list[str]]:
    """The device of each group, and its precision."""
    rows = [identify(group) for group in groups]
    return {name: [setting_text(row[name]) for row in rows] for name in ("device", "precision")}


def split_names(names: Sequence[str]) -> tuple[str, list[str]]:
    """The parts that all of `names` have, and what is left of each; of one nothing is shared."""
    parts = [name.split(", ") for name in names]
    shared = [part for part in parts[0] if all(part in others for others in parts)]
    left = [", ".join(part for part in its if part not in shared) for its in parts]
    return (", ".join(shared), left) if all(left) else ("", list(names))
