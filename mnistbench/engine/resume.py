"""Which earlier runs a run goes on from: found, checked bit by bit, and compared.

An *invocation* is one command: its runs are the seeds it asks for. A resumed one takes finished
seeds from their records, goes on with the one that was under way, and trains the rest.
"""

from __future__ import annotations

import hashlib
import logging
import os
import reprlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import psutil

from mnistbench.recorder.launcher import this_launch
from mnistbench.recorder.redaction import values_redacted
from mnistbench.schema.checkpoint import (
    CHECKPOINTS,
    CheckpointState,
    SavedRun,
    checkpoints_of,
    load_checkpoint,
    load_newest,
    newest_state,
)
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.provenance import OWN_CODE
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import RECORD_NAME, load_record
from mnistbench.schema.training_fields import BOOKKEEPING
from mnistbench.schema.user_code import CODE_FOLDER

_log = logging.getLogger(__name__)
_PARITY = frozenset({"gradient_accumulation_steps"})
"""Fields that cut a step otherwise: the same curve but for batch norm and dropout."""

_AS_RUN = frozenset({"cuda_graph", "batch_last"})
"""Fields of which what came of them is compared; earlier their defaults were true and false."""

_MOST_NAMED = 3


class Invocation(NamedTuple):
    """One command: `config` with all its seeds, and an `id` that its runs carry."""

    id: str
    config: RunConfig


class ResumePoint(NamedTuple):
    """What there is of an invocation to go on with: its id, and where its runs have their folders.

    `seeds` has the record of a run that has ended, or where it can go on.
    """

    invocation: str
    folder: Path
    seeds: dict[int, RunRecord | SavedRun]


def new_invocation(config: RunConfig) -> Invocation:
    """An invocation of its own; what a launcher starts again gets the same id each time."""
    return Invocation(_launch_id(config) or token_hex(8), config)


def find_resume_point(config: RunConfig, *, code: str | None = None) -> ResumePoint | None:
    """The invocation that `config` asks to go on with, or that its launcher has started again.

    `code` is what `sources_text` says of the user's own components now.

    Raises:
        InputError: nothing that can be trusted is there, or it is of another configuration or of
            other code of the user's own.
    """
    restarted = this_launch().restarts > 0
    if config.resume is None and not (restarted and config.checkpoint_every_steps):
        return None
    folder = Path(config.output_dir).expanduser()
    try:
        if config.resume is None:
            wanted = _launch_id(config)
            newest = _last_saved(folder, lambda state: state.invocation == wanted)
        elif config.resume == "latest":
            own = _last_saved(folder, lambda state: not _differing(state, config))
            newest = own or next(map(_newest, _runs(folder)), None)
        else:
            newest = _named(Path(config.resume).expanduser(), newest_of_run=restarted)
        if newest is None:
            _log.info(f"no checkpoint in {folder} to go on from: the run begins anew")
            return None
        _refuse(newest, _differing(newest.state, config))
        ran = (newest.state.code or {}).get(OWN_CODE)
        if ran != code and not config.force_code:
            kept = f" ({newest.run_folder / CODE_FOLDER} has a copy; --force-code takes this one)"
            _refuse(newest, {OWN_CODE: (ran, code)}, because=kept)
        return _earlier(newest, config)
    except OSError as error:
        raise InputError(f"resume: {error.filename or folder}: {error.strerror}") from None


def _earlier(newest: SavedRun, config: RunConfig) -> ResumePoint:
    state, own = newest.state, newest.run_folder
    record = _ended(own, state.invocation)
    found: dict[int, RunRecord | SavedRun] = {state.seed: record or newest}
    for run_folder in own.parent.iterdir() if config.num_seeds > 1 else ():
        with suppress(InputError, OSError):  # a neighbour that cannot be read is none of ours
            record = _ended(run_folder, state.invocation)
            other = newest_state(run_folder)
            if record and record.seed is not None:
                found[record.seed] = record
            elif other and other.invocation == state.invocation:
                found.setdefault(other.seed, _newest(run_folder))
    return ResumePoint(state.invocation, own.parent, found)


def _ended(run_folder: Path, invocation: str) -> RunRecord | None:
    """The record of a run of `invocation` that has ended by itself."""
    path = run_folder / RECORD_NAME
    record = load_record(path) if path.is_file() else None
    if record is None or record.invocation != invocation:
        return None
    return record if record.status in {"completed", "diverged"} else None


def _runs(folder: Path) -> list[Path]:
    """The folders of runs with checkpoints in `folder`, no links to one, the last saved first."""
    runs = (path.parent for path in folder.glob(f"*/{CHECKPOINTS}"))
    last = {run: checkpoints_of(run) for run in runs if not run.is_symlink()}
    saved = {run: paths[-1].stat().st_mtime_ns for run, paths in last.items() if paths}
    return sorted(saved, key=lambda run: (saved[run], run.name), reverse=True)


def _last_saved(folder: Path, fits: Callable[[CheckpointState], bool]) -> SavedRun | None:
    """The run with checkpoints in `folder` that was saved last of those whose state `fits`."""
    for run in _runs(folder):
        state = newest_state(run)
        if state and fits(state):
            return _newest(run)
    return None


def _newest(run_folder: Path) -> SavedRun:
    saved, skipped = load_newest(run_folder)
    for why in skipped if saved else ():
        _log.warning(f"skipped: {why}")
    if saved is None:
        raise InputError(
            f"resume: {run_folder} has no checkpoint that can be trusted ({'; '.join(skipped)}); "
            "leave --resume out to begin anew"
        )
    return saved


def _named(path: Path, *, newest_of_run: bool) -> SavedRun:
    """The checkpoint at `path`; a launcher that starts a run again means how far that has come."""
    if checkpoints_of(path):
        return _newest(path)
    if path.parent.name == CHECKPOINTS and newest_of_run:
        return _newest(path.parent.parent)
    if path.parent.name == CHECKPOINTS and path.is_dir():
        return load_checkpoint(path)
    what = "no run's folder, and no checkpoint's" if path.exists() else "not there"
    raise InputError(
        f"resume: {path} is {what}; use latest, RUN or RUN/{CHECKPOINTS}/NUMBER-step-STEP"
    )


def _differing(state: CheckpointState, config: RunConfig) -> dict[str, tuple[Any, Any]]:
    asked = config.model_dump(mode="json")
    there = RunConfig().model_dump(mode="json") | state.config  # fields added since then
    redacted = values_redacted(asked)  # as an anonymous run has them
    return {
        name: (there.get(name), asked.get(name))
        for name in sorted(there.keys() | asked.keys())
        if name not in BOOKKEEPING | _PARITY | _AS_RUN
        and there.get(name) not in (asked.get(name), redacted.get(name))
    }


def check_same(saved: SavedRun, found: Mapping[str, Any], *, parity: str | None) -> None:
    """Check that what came out otherwise than by the configuration is what it was.

    `found` has fields of `CheckpointState`, and `gradient_accumulation_steps`; `parity` is why
    another number of processes or pieces would change the curve, if it would.

    Raises:
        InputError: something differs; the first differences are named.
    """
    state: CheckpointState = saved.state
    cuts = {
        "num_processes": state.num_processes,
        "gradient_accumulation_steps": state.config.get("gradient_accumulation_steps", 1),
    }
    there = {**dict(state), "dataset": state.dataset.sha256[:12], **cuts}
    differing = {
        name: (there[name], value) for name, value in found.items() if there[name] != value
    }
    if parity is None:
        differing = {name: pair for name, pair in differing.items() if name not in cuts}
    _refuse(saved, differing, because=f" ({parity})" if parity and differing else "")


def _refuse(saved: SavedRun, differing: Mapping[str, tuple[Any, Any]], because: str = "") -> None:
    if not differing:
        return
    named = [
        f"{name} {_short(there)} there, {_short(asked)} here"
        for name, (there, asked) in differing.items()
    ]
    more = len(named) - _MOST_NAMED
    text = ", ".join(named[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    raise InputError(
        f"resume: {saved.path} is of another run: {text}{because}; ask for the same, or leave "
        "--resume out"
    )


def _short(value: Any) -> str:
    return value[:80] if isinstance(value, str) else reprlib.repr(value)


def _launch_id(config: RunConfig) -> str | None:
    """A name for all that one launcher starts for `config`, also again; none without a launcher."""
    if this_launch().started_by == "python":
        return None
    decides = config.model_dump_json(exclude=set(BOOKKEEPING))
    digest = hashlib.sha256(decides.encode(), usedforsecurity=False).hexdigest()[:12]
    parent = os.getppid()
    stat = Path(f"/proc/{parent}/stat")
    try:
        if stat.exists():  # its start since boot, which no change of the clock moves
            began = stat.read_text().rpartition(")")[2].split()[19]
        else:
            began = f"{psutil.Process(parent).create_time():.2f}"
    except (OSError, psutil.Error):  # it has gone, or is not to be seen from this container
        return None
    return f"launch-{parent}-{began}-{digest}"
