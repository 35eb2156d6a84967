"""One set of records as the sides of a comparison: a side for each value of a key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mnistbench.analysis.differences import code_of, settings_of, surroundings
from mnistbench.analysis.number_text import setting_text
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.record_sets import RecordSet, baseline_first
from mnistbench.schema.suggestions import did_you_mean
from mnistbench.schema.training_fields import SAME_RUN

_FIELDS = {
    "precision": "mixed_precision",
    "device": "device_name",
    "commit": "git_commit",
    "name": "workload",
}
"""Short names of what a record says."""

_NAME_THEMSELVES = {"recipe", "model", "loss", "optimizer", "dataset", "device_name", "workload"}
"""Of these a value alone says what it is; of others the key does: ``lr 0.1``."""

_MOST_NAMED = 12

_text = partial(setting_text, none="none")


def field_of(key: str, records: Sequence[RunRecord] = ()) -> str:
    """The name that `records` have for `key`."""
    own = any(key in settings_of(record) for record in records)
    return key if own else _FIELDS.get(key, key)


def split(
    records: Sequence[RunRecord], key: str, *, baseline: str | None = None
) -> list[RecordSet]:
    """`records` by their value of `key`: of the configuration, the environment or a version.

    `key` is as a record has it, or its short name. The value `baseline` comes first, then numbers
    ascend, false before true; other values are in the order of their first runs.

    Raises:
        InputError: no record knows `key`, all have one value, or it tells no two configurations
            apart, as a seed; `baseline` is none of the values.
    """
    field = field_of(key, records)
    told = [_told(record) for record in records]
    sides: dict[str, list[RunRecord]] = defaultdict(list)
    values = {}
    for record, its in zip(records, told, strict=True):
        text = _text(its.get(field))
        sides[text].append(record)
        values[text] = its.get(field)
    if len(sides) < 2:
        raise InputError(f"by: {_problem(key, field, told)}; {_varying(records, told)}")

    def place(text: str) -> tuple[bool, float, str, str]:
        value = values[text]
        if isinstance(value, int | float):
            return False, value, "", text
        return True, 0.0, min(record.created_at for record in sides[text]), text

    prefix = "" if field in _NAME_THEMSELVES else f"{key} "
    texts = sorted(sides, key=place)
    if baseline is not None:
        texts = baseline_first(texts, [(prefix + text, text) for text in texts], baseline)
    return [RecordSet(name=prefix + text, records=sides[text]) for text in texts]


def _told(record: RunRecord) -> dict[str, Any]:
    """All that `record` says it ran; what really ran goes before what was asked for."""
    recipe = record.recipe and record.recipe.name + ("*" if record.recipe.changed else "")
    layers: tuple[Mapping[str, Any], ...] = (
        record.environment,
        record.versions,
        settings_of(record),
        surroundings(record),
        {"recipe": recipe, "git_commit": code_of(record)},
    )
    return {k: v for layer in layers for k, v in layer.items() if v is not None and k != "versions"}


def _problem(key: str, field: str, told: Sequence[Mapping[str, Any]]) -> str:
    """Why records are not split by `key`."""
    known = {*_FIELDS, *(name for its in told for name in its)}
    if field in SAME_RUN - known:
        return f"runs of one configuration may differ in {key}"
    if field not in known:
        near = did_you_mean(key, known).removeprefix("; ")
        return f"no record holds {key}" + (f" ({near})" if near else "")
    which = "the run" if len(told) == 1 else f"all {len(told)} runs"
    return f"{key} is {_text(told[0].get(field))} in {which}"


def _varying(records: Sequence[RunRecord], told: Sequence[Mapping[str, Any]]) -> str:
    """What the records can be split by."""
    names = dict.fromkeys(name for record in records for name in settings_of(record))
    names |= dict.fromkeys(("recipe", *surroundings(records[0]), "git_commit"))
    names |= dict.fromkeys(n for r in records for n in r.versions)
    counts = {n: len({_text(its.get(n)) for its in told}) for n in names}
    short = {field: key for key, field in _FIELDS.items()}
    many = [f"{short.get(n, n)} ({count} values)" for n, count in counts.items() if count > 1]
    more = [f"{len(many) - _MOST_NAMED} more"] if len(many) > _MOST_NAMED else []
    return "what varies: " + (", ".join([*many[:_MOST_NAMED], *more]) or "nothing")
