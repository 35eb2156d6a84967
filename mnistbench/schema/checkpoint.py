"""What a checkpoint holds beside tensors, and which of a run's checkpoints can be trusted.

A run keeps them in ``checkpoints/`` of its folder, each a sealed folder named by a number that
only grows: ``0007-step-00000350``. ``model.safetensors`` are the weights and buffers, by torch's
names; ``optimizer.safetensors`` its state; ``processes.safetensors`` what each process has of its
own; ``state.json`` the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from mnistbench.schema.errors import InputError
from mnistbench.schema.record import (
    CheckpointCounts,
    DatasetInfo,
    EvalPoint,
    Fact,
    Interruption,
    Name,
    StopSignal,
)
from mnistbench.schema.sealed_folder import unseal
from mnistbench.schema.strict_json import load_versioned
from mnistbench.schema.strict_model import StrictModel

CHECKPOINTS = "checkpoints"
_STATE = "state.json"
FILES = ("model.safetensors", "optimizer.safetensors", "processes.safetensors", _STATE)
_NAME = re.compile(r"(\d{4,18})-step-\d{8,18}")
_SCHEMA_VERSION = 1
_MAX_STATE_BYTES = 64 * 2**20


class CheckpointState(StrictModel):
    """``state.json``: whose checkpoint this is, and how far it had come.

    `config` is of the whole invocation, with all of its seeds, but for what may differ when it goes
    on; `seed` is this run's. What follows `num_processes` is as it came out. `code` is what ran,
    with its versions; `scaler` is the gradient scaler's state, where there is one.
    """

    schema_version: int = Field(_SCHEMA_VERSION, ge=1)
    run_id: Name
    invocation: Name
    config: dict[str, Any]
    seed: int
    created_at: str
    saved_at: str
    cause: StopSignal | None
    num_processes: int = Field(ge=1, le=65_536)
    global_batch_size: int = Field(ge=1)
    mixed_precision: str
    device_type: str
    loop_floor: str
    kernels: Literal["own", "torch"] = "torch"
    dataset: DatasetInfo
    step: int = Field(ge=0)
    eval_points: list[EvalPoint]
    interruptions: list[Interruption]
    counts: CheckpointCounts
    code: dict[str, Fact] | None = None
    scaler: dict[str, int | float] | None


class SavedRun(NamedTuple):
    """A checkpoint as it was read, every bit checked.

    Attributes:
        path: its folder, in ``checkpoints/`` of its run's.
        newest: name of the newest folder there, which may be another's, when it was read.
        state: what ``state.json`` says.
        files: content of each of `FILES`.
    """

    path: Path
    newest: str
    state: CheckpointState
    files: dict[str, bytes]

    @property
    def run_folder(self) -> Path:
        """The folder of its run."""
        return self.path.parent.parent


def checkpoint_name(number: int, step: int) -> str:
    """The folder of the `number`-th checkpoint of a run, at `step`; names sort as they came."""
    return f"{number:04d}-step-{step:08d}"


def checkpoints_of(run_folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, whether whole or not; none where there are none."""
    folder = run_folder / CHECKPOINTS
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if number_of(path) >= 0 and path.is_dir())
    return sorted(found, key=number_of)


def number_of(path: Path) -> int:
    """Which of its run's checkpoints `path` is, by its name; -1 is none of ours."""
    name = _NAME.fullmatch(path.name)
    return int(name[1]) if name else -1


def newest_state(run_folder: Path) -> CheckpointState | None:
    """What the newest whole ``state.json`` of a run says, its tensors unread; none without one."""
    for path in reversed(checkpoints_of(run_folder)):
        try:
            unseal(path, [_STATE])
            return _read_state(path)
        except InputError:
            continue  # `load_newest` says why, if the run turns out to be the one that is wanted
    return None


def load_checkpoint(path: Path) -> SavedRun:
    """Read one checkpoint, every bit checked.

    Raises:
        InputError: a file is missing, damaged or of another checkpoint, or of a newer version.
    """
    files = unseal(path, FILES)
    newest = [found.name for found in checkpoints_of(path.parent.parent)][-1:] or [path.name]
    return SavedRun(path, newest[0], _read_state(path), files)


def _read_state(path: Path) -> CheckpointState:
    return load_versioned(
        path / _STATE,
        CheckpointState,
        what="a checkpoint",
        newest=_SCHEMA_VERSION,
        max_bytes=_MAX_STATE_BYTES,
    )


def load_newest(run_folder: Path) -> tuple[SavedRun | None, Sequence[str]]:
    """The newest checkpoint of a run that can be trusted, and why each newer one cannot."""
    skipped: list[str] = []
    for path in reversed(checkpoints_of(run_folder)):
        try:
            return load_checkpoint(path), skipped
        except InputError as error:
            skipped.append(str(error))
    return None, skipped
