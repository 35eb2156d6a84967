"""One attempt at a speed record as it is kept: ``bench/records/<device>/<date>-<recipe>/``.

``entry.json`` has all of its seeds in few words, ``record.json`` beside it the first of them in
full, from which ``mnistbench compare`` can run the same again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.speed_record import SpeedClaim, SpeedRun, judge_claim, speed_runs
from mnistbench.analysis.stability import is_unstable
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import Canary, DatasetInfo, RecipeInfo, RunRecord
from mnistbench.schema.store import save_record
from mnistbench.schema.strict_json import load_versioned

FOLDER = Path(__file__).parent / "records"

FIRST_FRESH_SEED = 1000
"""Attempts run the seeds from here on, searches those below."""

ENTRY_SCHEMA_VERSION = 1
_ENTRY_NAME = "entry.json"
_MAX_ENTRY_BYTES = 2**23
_FOLDERS = {"data_dir": None, "output_dir": "runs"}
"""Configuration values that name folders of this machine, and what stands for them."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class ColdRun(_Part):
    """A seed in a fresh process, and the seconds from that process's start to its result."""

    seed: int = Field(ge=0)
    test_accuracy: float | None = Field(ge=0, le=1)
    wall_s: float = Field(ge=0)


class RecordEntry(_Part):
    """An attempt, claimed or not: what was run, where, and what each seed gave.

    `canary` is the machine's own speed before the first and after the last warm run,
    `unstable_runs` how many of them it moved in. Whether it is claimed is worked out from `runs`
    wherever it is asked, by `claim`.
    """

    schema_version: int = Field(ENTRY_SCHEMA_VERSION, ge=1)
    created_at: str = Field(pattern=r"^\d{4}-\d\d-\d\dT")
    recipe: RecipeInfo
    what_changed: str = Field(min_length=1, max_length=300)
    target: float = Field(gt=0, le=1)
    device_type: str
    device_name: str
    num_threads: int = Field(ge=1)
    versions: dict[str, str | None]
    git_commit: str | None
    git_dirty: bool | None
    config: dict[str, Any]
    dataset: DatasetInfo
    num_steps: int = Field(ge=1)
    runs: list[SpeedRun] = Field(min_length=1)
    cold_runs: list[ColdRun] = Field(min_length=1)
    canary: Canary | None
    unstable_runs: int = Field(ge=0)

    @model_validator(mode="after")
    def _check_seeds(self) -> RecordEntry:
        if len({run.seed for run in self.runs}) < len(self.runs):
            raise ValueError("runs: a seed stands there twice")
        return self

    def claim(self) -> SpeedClaim:
        """What the seeds show."""
        return judge_claim(self.runs, self.target)

    def folder_name(self) -> str:
        """Where it belongs: a folder for the device, in it one for the date and recipe."""
        threads = f"-{self.num_threads}-threads" if self.device_type == "cpu" else ""
        device = re.sub(r"[^a-z0-9]+", "-", self.device_name.lower()).strip("-")
        return f"{device or self.device_type}{threads}/{self.created_at[:10]}-{self.recipe.name}"


def entry_of(
    warm: Sequence[RunRecord], cold: Sequence[RunRecord], *, target: float, what_changed: str
) -> RecordEntry:
    """The attempt that `warm`, the seeds of one process, and `cold`, each of its own, make up.

    Raises:
        InputError: no claim can be made of these runs (`speed_runs`), or not by this recipe.
    """
    runs, first = speed_runs(warm), warm[0]
    if first.recipe is None or first.dataset is None:
        raise InputError("speed record: a record is a recipe's; name one with --recipe")
    environment = first.environment
    ends = [record.canary for record in (first, warm[-1]) if record.canary]
    return RecordEntry(
        created_at=first.created_at,
        recipe=first.recipe,
        what_changed=what_changed,
        target=target,
        device_type=environment["device_type"],
        device_name=environment["device_name"],
        num_threads=environment["num_threads"],
        versions=environment["versions"],
        git_commit=environment["git_commit"],
        git_dirty=environment["git_dirty"],
        config={k: v for k, v in first.config.items() if k not in {"seed", "num_seeds", *_FOLDERS}},
        dataset=first.dataset,
        num_steps=first.num_steps,
        runs=[SpeedRun(**_rounded(run.model_dump())) for run in runs],
        cold_runs=[_cold_run(record) for record in cold],
        canary=Canary(before=ends[0].before, after=ends[-1].after) if len(ends) == 2 else None,
        unstable_runs=sum(map(is_unstable, warm)),
    )


def save_entry(entry: RecordEntry, first: RunRecord, *, root: Path = FOLDER) -> Path:
    """Write `entry`, and `first` of its runs in full, to a new folder below `root`.

    A second attempt of the same day gets a folder of its own. What tells of this machine's folders
    is left out of the full record.

    Returns:
        The folder.

    Raises:
        InputError: it cannot be written.
    """
    folder = _new_folder(root / entry.folder_name())
    save_record(first.model_copy(update={"config": first.config | _FOLDERS}), folder)
    values = entry.model_dump(mode="json")
    write_whole(folder / _ENTRY_NAME, json.dumps(values, indent=1, allow_nan=False) + "\n")
    return folder


def find_entries(root: Path = FOLDER) -> dict[str, RecordEntry]:
    """All attempts below `root` by their folder within it, the oldest first; there may be none.

    Raises:
        InputError: one of them is not readable or not an entry.
    """
    found = {
        path.parent.relative_to(root).as_posix(): load_versioned(
            path,
            RecordEntry,
            what="an entry of the speed records",
            newest=ENTRY_SCHEMA_VERSION,
            max_bytes=_MAX_ENTRY_BYTES,
        )
        for path in root.rglob(_ENTRY_NAME)
    }
    return dict(sorted(found.items(), key=lambda item: (item[1].created_at, item[0])))


def _cold_run(record: RunRecord) -> ColdRun:
    values = {"test_accuracy": record.result.test_accuracy, "wall_s": record.wall_s}
    return ColdRun(seed=record.seed, **_rounded(values))


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Seconds and fractions to a millionth, which is beyond what they mean."""
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}


def _new_folder(wanted: Path) -> Path:
    """`wanted`, or with a number behind it where that is taken."""
    folder, number = wanted, 1
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder
