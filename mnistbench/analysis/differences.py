"""How two sets of runs differ: in what must agree, and in what is compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.analysis.scoring import Asked, target_of
from mnistbench.analysis.stability import code_change
from mnistbench.schema.component import flat_arguments
from mnistbench.schema.escaping import brief
from mnistbench.schema.provenance import sources, sources_text
from mnistbench.schema.record import RunRecord
from mnistbench.schema.training_fields import SAME_RUN, as_left_to_the_run

_HARDWARE = ("device_type", "device_name", "cpu_name", "num_processes", "num_threads")

CODE = ("git_commit", "git_dirty", "git_diff_sha256", "code_sha256")
"""What of a record's environment tells the code that ran."""

SHOWN = ("device_name", "num_processes", "num_threads", "mixed_precision")
"""What tells environments apart and has a column of its own."""

_SOURCE = "code of "
_MOST_SHOWN = 60
_Reader: TypeAlias = Callable[[RunRecord], Any]


def settings_of(record: RunRecord) -> dict[str, Any]:
    """All that makes the configuration of `record`, each argument a value of its own.

    Of another loop than ours it is without what is ignored and without seeds, and a name that
    the record itself has for something else comes as ``config.NAME``.
    """
    if not record.is_foreign:
        its = flat_arguments(as_left_to_the_run(record.config))
        if its.get("batch_last") is False:
            its["batch_last"] = None  # what came of it is in `kernels`
        by_batch = {"eval_batch_size"} if its.get("eval_shift_share", 1) != 1 else set()
        return {k: v for k, v in its.items() if k not in SAME_RUN - by_batch}
    flat = _flat(record.config, ignored={*record.ignored})
    its = {k: v for k, v in flat.items() if not _is_seed(k, v, record)}
    return {f"config.{k}" if k in _RESERVED else k: v for k, v in its.items()}


def _flat(values: Mapping[str, Any], *, ignored: Collection[str], at: str = "") -> dict[str, Any]:
    """`values` of mappings in mappings by their path, such as ``optimizer.lr``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{at}{name}"
        if path not in ignored:
            nested = isinstance(value, Mapping) and value
            flat |= _flat(value, ignored=ignored, at=f"{path}.") if nested else {path: value}
    return flat


def _is_seed(path: str, value: Any, record: RunRecord) -> bool:
    name = path.rpartition(".")[2].lower()
    return name == "seed" or (name.endswith("seed") and value == record.seed)


def _in(told: Callable[[RunRecord], Mapping[str, Any]]) -> Callable[[str], _Reader]:
    return lambda name: lambda record: told(record).get(name)


_setting = _in(settings_of)
_found = _in(lambda record: record.environment)
_version = _in(lambda record: record.versions)
_source = _in(lambda record: sources(record.code))


def _of_workload(part: str) -> _Reader:
    return lambda run: getattr(run.workload, part) if run.workload and run.is_foreign else None


_workload, _framework = _of_workload("name"), _of_workload("framework")


def _commit(record: RunRecord) -> str | None:
    commit = record.environment.get("git_commit")
    return str(commit)[:10] if commit else None


def _ran(name: str, before: str) -> _Reader:
    """What of two ways our own loop ran by; `before` where records did not say so yet."""
    return lambda record: None if record.is_foreign else record.environment.get(name) or before


def _ours(name: str) -> _Reader:
    return lambda record: record.own_config.get(name)


def _num_threads(record: RunRecord) -> Any:
    """Those that its times are of."""
    alone = record.alone_threads if record.window_step_s else None
    return alone or record.environment.get("num_threads")


_SOFTWARE: dict[str, _Reader] = {
    **{n: _found(n) for n in ("mixed_precision", "launcher", "driver", "cuda", "cudnn")},
    "kernels": _ran("kernels", "torch"),
}
_CONDITIONS: dict[str, _Reader] = {
    "dataset": lambda record: record.dataset and record.dataset.name,
    "data sha256": lambda record: record.dataset and record.dataset.sha256[:12],
    "num_train": lambda record: record.dataset and record.dataset.num_train,
    "num_val": lambda record: record.dataset and record.dataset.num_val,
    "eval_split": lambda record: record.eval_split,
    "target": lambda record: goal(its) if (its := target_of(record)) else None,
    "loss": _ours("loss"),
    "code of the loss": lambda record: sources_text(
        c for c in record.code if c.component == "loss"
    ),
    "global_batch_size": _found("global_batch_size"),
    "from_step": lambda record: record.throughput.from_step,
    **{name: _found(name) for name in _HARDWARE},
    "num_threads": _num_threads,
    "process": _ran("process", "fresh"),
    "timing": lambda record: (
        "steps × seconds per step alone" if record.window_step_s else "its own clock"
    ),
}
"""What may have to agree before figures are compared; which of it, each metric says."""
_SAID_BESIDE = {"from_step"}  # which forbids nothing
_NEVER_MIXED = {"timing"}  # nor may both sides have the same two
_RESERVED = {*_HARDWARE, *_SOFTWARE, *CODE, "versions", "workload", "framework", "script"}

_WATCHING = {"profile", "profile_steps", "profile_details"}  # compared with nothing
_ELSEWHERE = {
    *_CONDITIONS,
    *_WATCHING,
    *("target_accuracy", "per_device_batch_size", "mixed_precision"),
}
"""Configuration values that change nothing, or are known better as what they came to."""


def surroundings(record: RunRecord) -> dict[str, Any]:
    """All that `record` was run on and with, apart from its configuration and this code."""
    found = {name: read(record) for name, read in (_CONDITIONS | _SOFTWARE).items()}
    found["versions"] = record.environment.get("versions")
    found |= {"code": sources_text(record.code), "workload": _workload(record)}
    del found["process"], found["timing"]  # of which its own speed does not depend
    if not record.is_foreign:
        del found["target"]  # which its configuration says
    return found


def conditions(
    a: Sequence[RunRecord], b: Sequence[RunRecord], needs: Collection[str], *, asked: Asked = None
) -> dict[str, str]:
    """What of `needs`, which a metric names, does not agree: name -> ``A's against B's``.

    Recorded targets do not matter where all are scored by what is `asked`, unless a run stopped at
    its own. What a loop that is not ours leaves unsaid is not known to differ (`untold`).
    """
    runs = (*a, *b)
    stopped = any(map(_ours("stop_at_target"), runs))
    free = {"target"} if asked is not None and not stopped else set()
    readers = {k: _CONDITIONS[k] for k in needs if k not in free | _SAID_BESIDE}
    found = _differing(a, b, readers, both=any(run.is_foreign for run in runs))
    return {name: f"{x} against {y}" for name, (x, y) in found.items()}


def untold(
    a: Sequence[RunRecord], b: Sequence[RunRecord], needs: Collection[str], names: tuple[str, str]
) -> list[str]:
    """What of `needs` only one of the sides tells, or tells otherwise without forbidding a verdict.

    ``dataset not told of B``. Where all runs are ours nothing is left unsaid.
    """
    runs = (*a, *b)
    if not any(run.is_foreign for run in runs):
        return []
    # without a target or a split a metric has no value, which is said
    readers = {k: _CONDITIONS[k] for k in needs if k not in {"eval_split", "target"}}
    found = _differing(a, b, readers)
    if "dataset" in found:
        hidden = {"data sha256", "num_train", "num_val"}
        found = {name: ends for name, ends in found.items() if name not in hidden}
    lines = []
    for place, side in enumerate(names):
        lacking = ", ".join(k for k, ends in found.items() if ends[place] == NOT_MEASURED)
        lines += [f"{lacking} not told of {side}"] if lacking else []
    if "from_step" in found:
        first, second = found["from_step"]
        lines.append(f"speed from step {first} on in {names[0]}, {second} in {names[1]}")
    return lines


def values_of(records: Sequence[RunRecord], name: str) -> set[str]:
    """All that `records` say of one condition."""
    return _values(records, _CONDITIONS[name])


def subject(
    a: Sequence[RunRecord], b: Sequence[RunRecord], needs: Collection[str], *, by: str | None = None
) -> dict[str, str]:
    """What B differs in beyond `needs` and `by`: the comparison's subject, as B's for A's.

    Of our loop and another's it is what both configurations say.
    """
    runs = (*a, *b)
    foreign = {run.is_foreign for run in runs}
    names = dict.fromkeys(key for record in runs for key in settings_of(record))
    elsewhere = set() if foreign == {True} else _ELSEWHERE
    config = {name: _setting(name) for name in names if name not in elsewhere | {by}}
    readers = {**_CONDITIONS, **_SOFTWARE, **{name: _found(name) for name in CODE}}
    readers |= {"git_commit": _commit, "workload": _workload, "framework": _framework}
    del readers["code of the loss"]  # which is said with the rest of its file
    own = [{name for record in side for name in sources(record.code)} for side in (a, b)]
    readers |= {f"{_SOURCE}{name}": _source(name) for name in sorted(own[0] & own[1])}
    readers |= {name: _version(name) for record in runs for name in record.versions}
    said = {*needs, *_SAID_BESIDE, by}
    readers = {name: read for name, read in readers.items() if name not in said}
    both = len(foreign) > 1
    found = _differing(a, b, config, both=both) | _differing(a, b, readers, both=both)
    return {name: f"{y} instead of {x}" for name, (x, y) in found.items()}


def code_of(record: RunRecord) -> str:
    """The commit that `record` was run at with the changes on top of it, or a hash of the files."""
    _, dirty, changes, files = map(record.environment.get, CODE)
    name = _commit(record) or (f"files {files}" if files else "unknown")
    return name + (" (dirty)" if changes is None else f" (dirty, {changes})") * bool(dirty)


def _differing(
    a: Sequence[RunRecord],
    b: Sequence[RunRecord],
    readers: Mapping[str, _Reader],
    *,
    both: bool = False,
) -> dict[str, tuple[str, str]]:
    """All that the runs of A, and those of B, have there, as text; what is the same is left out.

    So is, where `both` have to tell, what one side does not.
    """
    found = {name: (_values(a, read), _values(b, read)) for name, read in readers.items()}
    return {
        name: (_listed(x), _listed(y))
        for name, (x, y) in found.items()
        if (x != y and ((x and y) or not both)) or (name in _NEVER_MIXED and len(x) > 1)
    }


def _values(runs: Sequence[RunRecord], read: _Reader) -> set[str]:
    return {str(value) for value in map(read, runs) if value is not None}


def _listed(values: set[str]) -> str:
    return brief(", ".join(sorted(values)) or NOT_MEASURED, _MOST_SHOWN)


def identity(record: RunRecord) -> dict[str, Any]:
    """All that makes a run this run, apart from its seed and its outcome."""
    environment = {k: record.environment.get(k) for k in (*SHOWN, *CODE, "launcher")}
    environment |= {"git_commit": _commit(record), "kernels": _SOFTWARE["kernels"](record)}
    if change := code_change(record):
        environment["git_commit"] = f"changed {change} ({record.run_id})"
    # not where the data came from: downloaded today, local tomorrow, the same bytes
    data = {"data sha256": record.dataset.sha256[:12]} if record.dataset else {}
    hooks = ", ".join(record.profile.hooks if record.profile else [])
    watched = {"hooks": hooks} if hooks else {}
    own = {f"{_SOURCE}{name}": its for name, its in sources(record.code).items()}
    return {**_told(record), **environment, **record.versions, **data, **own, **watched}


def _told(record: RunRecord) -> dict[str, Any]:
    """What `record` says that was to be run."""
    config = settings_of(record)
    if record.is_foreign:
        scripts = (code.reference for code in record.code if code.component == "script")
        target = target_of(record)
        steered = {"target": goal(target), "target split": target.split} if target else {}
        named = {"workload": _workload(record), "framework": _framework(record)}
        device = {"device_type": record.environment.get("device_type")}
        return config | named | device | {"script": next(scripts, None)} | steered
    if "model" in config:
        return config
    return config | _unnamed(record, told=not config.keys() <= {"eval_split", "target_accuracy"})


def is_source(name: str) -> bool:
    """Whether what `identity` calls so is the contents of a file or module of the user's own."""
    return name.startswith(_SOURCE)


def _unnamed(record: RunRecord, *, told: bool) -> dict[str, Any]:
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
