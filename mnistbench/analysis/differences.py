"""How two sets of runs differ: in what must agree, and in what is compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.analysis.stability import code_change
from mnistbench.schema.component import flat_arguments
from mnistbench.schema.escaping import brief
from mnistbench.schema.provenance import sources, sources_text
from mnistbench.schema.record import RunRecord
from mnistbench.schema.training_fields import SAME_RUN, as_left_to_the_run

__all__ = [
    "CODE",
    "SHOWN",
    "code_of",
    "conditions",
    "identity",
    "is_source",
    "settings_of",
    "subject",
    "surroundings",
    "values_of",
]

_HARDWARE = ("device_type", "device_name", "cpu_name", "num_processes", "num_threads")
_SOFTWARE = ("mixed_precision", "launcher", "driver", "cuda", "cudnn")

CODE = ("git_commit", "git_dirty", "git_diff_sha256", "code_sha256")
"""What of a record's environment tells the code that ran."""

SHOWN = ("device_name", "num_processes", "num_threads", "mixed_precision")
"""What tells environments apart and has a column of its own."""

_SOURCE = "code of "
_MOST_SHOWN = 60

_Reader: TypeAlias = Callable[[RunRecord], Any]


def _configured(name: str) -> _Reader:
    return lambda record: settings_of(record).get(name)


def settings_of(record: RunRecord) -> dict[str, Any]:
    """The configuration of `record`, in which each argument is a value of its own."""
    return flat_arguments(as_left_to_the_run(record.config))


def _found(name: str) -> _Reader:
    return lambda record: record.environment.get(name)


def _version(name: str) -> _Reader:
    return lambda record: _versions(record).get(name)


def _source(name: str) -> _Reader:
    return lambda record: sources(record.code).get(name)


def _commit(record: RunRecord) -> str | None:
    commit = record.environment.get("git_commit")
    return str(commit)[:10] if commit else None


def _code_of_loss(record: RunRecord) -> str | None:
    return sources_text(code for code in record.code if code.component == "loss")


_CONDITIONS: Mapping[str, _Reader] = {
    "dataset": lambda record: record.dataset and record.dataset.name,
    "data sha256": lambda record: record.dataset and record.dataset.sha256[:12],
    "num_train": lambda record: record.dataset and record.dataset.num_train,
    "num_val": lambda record: record.dataset and record.dataset.num_val,
    "eval_split": _configured("eval_split"),
    "target_accuracy": _configured("target_accuracy"),
    "loss": _configured("loss"),
    "code of the loss": lambda record: sources_text(
        c for c in record.code if c.component == "loss"
    ),
    "global_batch_size": _found("global_batch_size"),
    **{name: _found(name) for name in _HARDWARE},
}
"""What may have to agree before figures are compared; which of it, each metric says."""

_WATCHING = {"profile", "profile_steps", "profile_details"}
_ELSEWHERE = {*SAME_RUN, *_CONDITIONS, *_WATCHING, "per_device_batch_size", "mixed_precision"}
"""Configuration values that change nothing, or are known better as what they came to.

Runs that were watched are compared with nothing.
"""


def surroundings(record: RunRecord) -> dict[str, Any]:
    """All that `record` was run on and with, apart from its configuration and this code."""
    found = {name: read(record) for name, read in _CONDITIONS.items()}
    found |= {name: record.environment.get(name) for name in (*_SOFTWARE, "versions")}
    return found | {"code": sources_text(record.code)}


def conditions(
    a: Sequence[RunRecord],
    b: Sequence[RunRecord],
    needs: Collection[str],
    *,
    target_accuracy: float | None = None,
) -> dict[str, str]:
    """What of `needs`, which a metric names, does not agree: name -> ``A's against B's``.

    Recorded targets do not matter where all are scored by `target_accuracy`, unless a run stopped
    at its own.
    """
    runs = (*a, *b)
    stopped = any(record.config.get("stop_at_target") for record in runs)
    free = {"target_accuracy"} if target_accuracy is not None and not stopped else set()
    found = _differing(a, b, {k: _CONDITIONS[k] for k in needs if k not in free})
    return {name: f"{x} against {y}" for name, (x, y) in found.items()}


def values_of(records: Sequence[RunRecord], name: str) -> set[str]:
    """All that `records` say of one condition."""
    return _values(records, _CONDITIONS[name])


def subject(
    a: Sequence[RunRecord], b: Sequence[RunRecord], needs: Collection[str | None]
) -> dict[str, str]:
    """What B differs in beyond `needs`: the comparison's subject, as name -> ``B's for A's``."""
    runs = (*a, *b)
    names = dict.fromkeys(key for record in runs for key in settings_of(record))
    readers = {name: _configured(name) for name in names if name not in _ELSEWHERE}
    readers |= {**_CONDITIONS, **{name: _found(name) for name in (*_SOFTWARE, *CODE)}}
    readers |= {"git_commit": _commit}
    del readers["code of the loss"]  # which is said with the rest of its file
    own = [{name for record in side for name in sources(record.code)} for side in (a, b)]
    readers |= {f"{_SOURCE}{name}": _source(name) for name in sorted(own[0] & own[1])}
    readers |= {name: _version(name) for record in runs for name in _versions(record)}
    found = _differing(a, b, {k: read for k, read in readers.items() if k not in needs})
    return {name: f"{y} instead of {x}" for name, (x, y) in found.items()}


def code_of(record: RunRecord) -> str:
    """The commit that `record` was run at with the changes on top of it, or a hash of the files."""
    _, dirty, changes, files = map(record.environment.get, CODE)
    name = _commit(record) or (f"files {files}" if files else "unknown")
    return name + (" (dirty)" if changes is None else f" (dirty, {changes})") * bool(dirty)


def _differing(
    a: Sequence[RunRecord], b: Sequence[RunRecord], readers: Mapping[str, _Reader]
) -> dict[str, tuple[str, str]]:
    """All that the runs of A, and those of B, have there, as text; what is the same is left out."""
    both = {name: (_values(a, read), _values(b, read)) for name, read in readers.items()}
    return {name: (_listed(x), _listed(y)) for name, (x, y) in both.items() if x != y}


def _values(runs: Sequence[RunRecord], read: _Reader) -> set[str]:
    return {str(value) for value in map(read, runs) if value is not None}


def _listed(values: set[str]) -> str:
    return brief(", ".join(sorted(values)) or NOT_MEASURED, _MOST_SHOWN)


def _versions(record: RunRecord) -> Mapping[str, Any]:
    return record.environment.get("versions") or {}


def identity(record: RunRecord) -> dict[str, Any]:
    """All that makes a run this run, apart from its seed and its outcome."""
    config = {k: v for k, v in settings_of(record).items() if k not in SAME_RUN}
    environment = {k: record.environment.get(k) for k in (*SHOWN, *CODE, "launcher")}
    environment["git_commit"] = _commit(record)
    if change := code_change(record):
        environment["git_commit"] = f"changed {change} ({record.run_id})"
    # not where the data came from: downloaded today, local tomorrow, the same bytes
    data = {"data sha256": record.dataset.sha256[:12]} if record.dataset else {}
    hooks = record.profile.hooks if record.profile else []
    watched = {"hooks": ", ".join(hooks)} if hooks else {}
    own = {f"{_SOURCE}{name}": its for name, its in sources(record.code).items()}
    told = not config.keys() <= {"eval_split", "target_accuracy"}
    foreign = _foreign(record, told=told) if "model" not in config else {}
    return config | foreign | environment | {**_versions(record)} | data | own | watched


def is_source(name: str) -> bool:
    """Whether what `identity` calls so is the contents of a file or module of the user's own."""
    return name.startswith(_SOURCE)


def _foreign(record: RunRecord, *, told: bool) -> dict[str, Any]:
    """What tells runs apart whose configuration names no model, or is not `told` at all.

    Where nothing tells, a run is like no other.
    """
    recipe = record.recipe.name if record.recipe else None
    known: dict[str, Any] = {"recipe": recipe, "parameters": record.num_parameters}
    if not told:
        known |= {"epochs": record.num_epochs or None, "steps": record.num_steps or None}
    if record.dataset is None and not told and not any(known.values()):
        return {"run": record.run_id}
    return known | {"target": record.result.target_accuracy}
