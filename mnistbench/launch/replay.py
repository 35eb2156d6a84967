"""From what was run before to the flags that run it again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.plain_yaml import read_yaml, yaml_text
from mnistbench.schema.provenance import sources_text
from mnistbench.schema.store import find_records, load_record
from mnistbench.schema.streams import say
from mnistbench.schema.training_fields import BOOKKEEPING, as_left_to_the_run
from mnistbench.schema.user_code import code_of

_WATCHING = {"profile", "profile_steps", "profile_details"}  # runs to be compared are not watched
_SET_PER_RUN = BOOKKEEPING - {"data_dir"} | {"seed", "num_seeds"} | _WATCHING


def arguments_of(path: Path, *, work_dir: Path) -> tuple[str, ...]:
    """Flags of ``train`` that run again what `path` holds.

    Of a record everything is kept but seed, output folder and what watched it: a profiled run is in
    no comparison. What its configuration left open is as it came out then: the data set that
    ``auto`` found, the precision a launcher chose. A data folder that is not on this machine gives
    way to the default one, and code of the user's own is as it is now: if not as it was, that is
    said.

    Args:
        path: a ``record.json``, a folder with records of one configuration, whatever their seeds,
            or a ``.yaml`` file for ``--config``, which is passed on as it is: the run that reads
            it says what is wrong with it.
        work_dir: gets the configuration of a record as a file; made if it is not there.

    Raises:
        InputError: `path` holds no record or several configurations, a file asks for a profile,
            or a record cannot be run by this version in one process.
    """
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        _refuse_profile(path)
        return ("--config", str(path.absolute()))
    found = find_records([path])
    first, *others = (_values(record) for record in found)
    _require_one(path, first, others)
    ran, runs = load_record(found[0]).code, code_of(RunConfig(**first))
    if sources_text(ran) != sources_text(runs):
        say(f"{path} ran {sources_text(ran)}; what runs now is {sources_text(runs)}")
    text = yaml_text(first)
    name = hashlib.sha256(text.encode(), usedforsecurity=False).hexdigest()[:12]
    target = work_dir.absolute() / f"config-{name}.yaml"
    write_whole(target, text)
    return ("--config", str(target))


def _refuse_profile(path: Path) -> None:
    try:
        values = read_yaml(path, what="a configuration")
    except InputError:  # the run that reads it says so
        return
    if isinstance(values, dict) and values.get("profile"):
        raise InputError(f"{path}: profile: costs time, and such runs are in no comparison")


def _values(path: Path) -> dict[str, Any]:
    """All values of the run on record that a rerun of it shares."""
    record = load_record(path)
    values, environment = dict(as_left_to_the_run(record.config)), record.environment
    num_processes = environment.get("num_processes", 1)
    if num_processes != 1:
        raise InputError(
            f"{path}: was run by {num_processes} processes, and a rerun would be by one; "
            "compare records, or a configuration file"
        )
    if values.get("mixed_precision") is None:
        values["mixed_precision"] = environment.get("mixed_precision")
    if values.get("dataset") == "auto" and record.dataset:
        values["dataset"] = record.dataset.name
    try:
        config = RunConfig(**values)
    except InputError as error:
        raise InputError(f"{path}: cannot be run by this version: {error}") from None
    resolved = config.model_dump(mode="json", exclude=set(_SET_PER_RUN))
    return resolved | {"data_dir": _here(config.data_dir)}


def _require_one(path: Path, first: Mapping[str, Any], others: list[dict[str, Any]]) -> None:
    # the same data may lie in different folders
    keys = (key for key in first if key != "data_dir")
    differing = [key for key in keys if any(other[key] != first[key] for other in others)]
    if differing:
        raise InputError(
            f"{path}: holds runs that differ in {', '.join(differing)}; name one record.json, or a "
            "folder with runs of one configuration"
        )


def _here(data_dir: str | None) -> str | None:
    """A recorded folder as an absolute path, if this machine has it."""
    if data_dir is None:
        return None
    try:
        folder = Path(data_dir).expanduser()
    except (RuntimeError, ValueError):  # the home of another machine's user, or no name at all
        return None
    return str(folder.absolute()) if folder.is_dir() else None
