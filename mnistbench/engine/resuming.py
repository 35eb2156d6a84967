"""Which earlier runs a run goes on from: found, checked bit by bit, and compared.

An *invocation* is one command: its runs are the seeds it asks for. A resumed one takes finished
seeds from their records, goes on with the one that was under way, and trains the rest.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import psutil

from mnistbench.instruments.environment import launcher
from mnistbench.schema.checkpoint import (
    CHECKPOINTS,
    CheckpointState,
    SavedRun,
    checkpoints_of,
    load_checkpoint,
    load_newest,
)
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import RECORD_NAME, load_record
from mnistbench.schema.training_fields import BOOKKEEPING

__all__ = ["Earlier", "Invocation", "check_same", "find_earlier", "new_invocation"]

_log = logging.getLogger(__name__)
_PARITY = frozenset({"gradient_accumulation_steps"})
"""Fields that cut a step otherwise: the same curve but for batch norm and dropout."""

_MOST_NAMED = 3


class Invocation(NamedTuple):
    """One command: `config` with all its seeds, and an `id` that its runs carry."""

    id: str
    config: RunConfig


class Earlier(NamedTuple):
    """An invocation to go on with; `newest` is the checkpoint that was named or found."""

    newest: SavedRun

    def of_seed(self, seed: int) -> RunRecord | SavedRun | None:
        """What there is of a seed: its record if it has ended, else where it can go on.

        Raises:
            InputError: something there is damaged.
        """
        state, folder = self.newest.state, self.newest.run_folder
        folders = [path for path in folder.parent.glob(f"*-seed{seed}-*") if path != folder]
        for run_folder in [*([folder] if state.seed == seed else []), *folders]:
            record = _ended(run_folder)
            if record and (record.invocation, record.seed) == (state.invocation, seed):
                return record
            if run_folder == folder:
                return self.newest
            saved = _newest(run_folder) if checkpoints_of(run_folder) else None
            if saved and (saved.state.invocation, saved.state.seed) == (state.invocation, seed):
                return saved
        return None


def new_invocation(config: RunConfig) -> Invocation:
    """An invocation of its own; what a launcher starts again gets the same id each time."""
    return Invocation(_launch_id() or token_hex(8), config)


def find_earlier(config: RunConfig) -> Earlier | None:
    """The invocation that `config` asks to go on with, or that its launcher has started again.

    Raises:
        InputError: nothing that can be trusted is there, or it is of another configuration.
    """
    restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if config.resume is None and not (restarted and config.checkpoint_every_steps):
        return None
    folder = Path(config.output_dir).expanduser()
    if config.resume is None:
        newest = next((s for s in _runs(folder) if s.state.invocation == _launch_id()), None)
    elif config.resume == "latest":
        newest = next(_runs(folder), None)
    else:
        newest = _named(Path(config.resume).expanduser())
    if newest is None:
        _log.info(f"no checkpoint in {folder} to go on from: the run begins anew")
        return None
    _check_config(newest, config)
    return Earlier(newest)


def _runs(folder: Path) -> Iterator[SavedRun]:
    """The newest checkpoint of each run in `folder`, the last saved first."""
    last = {path.parent: checkpoints_of(path.parent) for path in folder.glob(f"*/{CHECKPOINTS}")}
    saved = {run: paths[-1].stat().st_mtime_ns for run, paths in last.items() if paths}
    for run in sorted(saved, key=lambda run: (saved[run], run.name), reverse=True):
        yield _newest(run)


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


def _named(path: Path) -> SavedRun:
    if checkpoints_of(path):
        return _newest(path)
    if path.parent.name == CHECKPOINTS and path.is_dir():
        return load_checkpoint(path)
    what = "no run's folder, and no checkpoint's" if path.exists() else "not there"
    raise InputError(
        f"resume: {path} is {what}; use latest, RUN or RUN/{CHECKPOINTS}/NUMBER-step-STEP"
    )


def _ended(run_folder: Path) -> RunRecord | None:
    path = run_folder / RECORD_NAME
    record = load_record(path) if path.exists() else None
    return record if record and record.status in {"completed", "diverged"} else None


def _check_config(saved: SavedRun, config: RunConfig) -> None:
    asked = config.model_dump(mode="json")
    there = RunConfig().model_dump(mode="json") | saved.state.config  # fields added since then
    differing = {
        name: (there.get(name), asked.get(name))
        for name in sorted(there.keys() | asked.keys())
        if name not in BOOKKEEPING | _PARITY and there.get(name) != asked.get(name)
    }
    _refuse(saved, differing)


def check_same(saved: SavedRun, found: Mapping[str, Any], *, parity: str | None) -> None:
    """Check that what came out otherwise than by the configuration is what it was.

    Args:
        saved: where to go on.
        found: fields of `CheckpointState` and, where it holds it, `gradient_accumulation_steps`.
        parity: why another number of processes or pieces would change the curve, if it would.

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
        f"{name} {there} there, {asked} here" for name, (there, asked) in list(differing.items())
    ]
    more = len(named) - _MOST_NAMED
    text = ", ".join(named[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    raise InputError(
        f"resume: {saved.path} is of another run: {text}{because}; ask for the same, or leave "
        "--resume out"
    )


def _launch_id() -> str | None:
    """A name for all that one launcher starts, also again; none without a launcher."""
    if launcher() == "python":
        return None
    parent = psutil.Process(os.getppid())
    return f"launch-{parent.pid}-{parent.create_time() * 1000:.0f}"
