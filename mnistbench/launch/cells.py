"""Cells of a sweep: runs that are known by what decides them, and what carries them out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple, Protocol

from mnistbench.schema.component import flat_arguments, short_name
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord
from mnistbench.schema.training_fields import BOOKKEEPING
from mnistbench.workload.recipes import RECIPES

__all__ = ["Attempt", "Cell", "Executor", "as_text", "attempt_folder"]

_WHERE = BOOKKEEPING | {"num_seeds"}
_KINDS = ("model", "loss", "optimizer", "lr_schedule", "augment")
"""Fields whose values say by themselves what they are; they come first in a slug."""

_ORDER = list(RunConfig.model_fields)
_FIELDS = _ORDER[_ORDER.index("model") :] + _ORDER[: _ORDER.index("model")]
"""How to train before what to train on, as it comes last in a slug, which may be cut short."""

_LONGEST_HEAD = 80
_ODD = re.compile(r"[^A-Za-z0-9.+-]+")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a sweep.

    Attributes:
        config: its configuration, of one seed; where it writes is set when it is run.
        num_processes: how many processes run it, on one machine.
        code: what `sources_text` says of the user's own components; the run refuses other code.
        data: `content_digest` of a file or folder of the user's own data.
    """

    config: RunConfig
    num_processes: int = 1
    code: str | None = None
    data: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        """What decides the run, as JSON: values that differ from the defaults of `RunConfig`.

        Fields that get a default in a later version thus leave a cell what it was.
        """
        given, default = (c.model_dump(mode="json") for c in (self.config, RunConfig()))
        return {
            name: value
            for name, value in given.items()
            if name not in _WHERE and value != default[name]
        }

    @cached_property
    def id(self) -> str:
        """Name of the cell's folder: its slug, and a hash of `values` and all else above."""
        decides = {**self.values, "num_processes": self.num_processes}
        decides |= {"code": self.code} if self.code else {}
        decides |= {"data": self.data} if self.data else {}
        text = json.dumps(decides, sort_keys=True, allow_nan=False)
        digest = hashlib.sha256(text.encode(), usedforsecurity=False).hexdigest()[:10]
        return f"{self.slug}-{digest}"

    @cached_property
    def slug(self) -> str:
        """What a person knows it by: recipe or model, what was changed in it, seed, processes."""
        recipe = self.config.recipe
        base = RunConfig(recipe=recipe, **(RECIPES[recipe].settings if recipe else {}))
        plain = base.model_dump(mode="json")
        changed = {
            name: value
            for name, value in flat_arguments(self.config.model_dump(mode="json")).items()
            if name not in {*_WHERE, "recipe", "seed"} and value not in (None, plain.get(name))
        }
        if not recipe:
            changed["model"] = self.config.model
        kinds = [as_text(changed.pop(field)) for field in _KINDS if field in changed]
        names = sorted(changed, key=lambda name: _FIELDS.index(name.partition(".")[0]))
        settings = [f"{name.rpartition('.')[2]}-{as_text(changed[name])}" for name in names]
        told = "-".join([*([recipe] if recipe else []), *kinds, *settings])
        head = _ODD.sub("-", told).lstrip("-.")
        if len(head) > _LONGEST_HEAD:
            head = head[:_LONGEST_HEAD].rpartition("-")[0] or head[:_LONGEST_HEAD]
        processes = f"-{self.num_processes}p" if self.num_processes > 1 else ""
        return f"{head}-seed-{self.config.seed}{processes}"


class Attempt(NamedTuple):
    """How one try to run a cell ended.

    Attributes:
        cell: what was run.
        record: what it left, whatever its status; none if it left nothing.
        error: why there is no record, one line.
        refused: the run refused its input: another try would end the same.
    """

    cell: Cell
    record: RunRecord | None
    error: str | None = None
    refused: bool = False


class Executor(Protocol):
    """What runs cells."""

    def run(self, cells: Sequence[Cell], *, folder: Path) -> Iterator[Attempt]:
        """Try each of `cells` once and give each attempt as it ends, in any order.

        An attempt with a record has left it, whole, as ``record.json`` in
        ``attempt_folder(folder, cell) / record.run_id``, where the caller takes it from before it
        asks for the next; what else lies in `folder` the caller removes. A failed cell is an
        attempt, not an exception.

        Raises:
            InputError: cells cannot be run at all, such as with an address that does not answer.
            KeyboardInterrupt: a signal came (`Terminated` for SIGTERM and SIGHUP); what ran has
                been ended.
        """

    def close(self) -> None:
        """End what still runs and give back what was taken; more than once does no harm."""


def attempt_folder(folder: Path, cell: Cell) -> Path:
    """A name inside `folder` for one attempt at `cell`, new with every call; nothing is made."""
    return folder / f"{cell.id}-{token_hex(4)}"


def as_text(value: Any) -> str:
    """A value of a configuration as part of a file's name."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, list):
        text = "+".join(map(str, value)) or "none"
    elif isinstance(value, float):
        text = f"{value:g}"
    elif isinstance(value, str):
        text = short_name(value)
    return _ODD.sub("-", text)
