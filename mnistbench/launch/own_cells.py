"""A cell that this package's own loop trains: what decides it, its command, and what it left."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mnistbench.launch.cells import Attempt, Cell, as_text, head_of
from mnistbench.launch.children import Child
from mnistbench.launch.commands import child_environment, device_environment, torchrun_command
from mnistbench.launch.runs import require_code, why_ended
from mnistbench.recorder.limits import SHARED_CORES
from mnistbench.recorder.parent_death_signal import PARENT
from mnistbench.recorder.redaction import values_redacted
from mnistbench.schema.component import flat_arguments
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.plain_yaml import yaml_text
from mnistbench.schema.store import load_record
from mnistbench.schema.training_fields import BOOKKEEPING
from mnistbench.schema.user_code import EXPECTED_CODE
from mnistbench.workload.recipes import RECIPES

_NO_VALUES = BOOKKEEPING | {"num_seeds"}
_NOT_IN_SLUG = _NO_VALUES | {"recipe", "seed", "processes"}
_KINDS = ("model", "loss", "optimizer", "lr_schedule", "augment")
"""Fields whose values say by themselves what they are; they come first in a slug."""

_ORDER = list(RunConfig.model_fields)
_FIELDS = _ORDER[_ORDER.index("model") :] + _ORDER[: _ORDER.index("model")]
"""How to train before what to train on, as it comes last in a slug, which may be cut short."""

_SHORT = {
    **dict.fromkeys(("target_accuracy", "checkpoint_every_steps")),
    **dict.fromkeys(("stop_at_target", "diagnose", "mllog"), False),
    **dict.fromkeys(("profile", "log_with"), ()),
    "eval_split": "test",
}
"""What a window leaves out of a configuration."""

_WHERE = {"data_dir", "output_dir"}  # which an anonymous run leaves in no file
_REFUSED = re.compile(r"Root Cause.*exitcode\s*:\s*2\b", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class RunCell(Cell):
    """One run of this package's own loop.

    Attributes:
        config: its configuration, of one seed; where it writes is set when it is run.
        data: `content_digest` of a file or folder of the user's own data.
    """

    config: RunConfig
    data: str | None = None

    @property
    def num_threads(self) -> int | None:
        """CPU threads of each process, where the cell sets them itself."""
        return self.config.num_threads

    @property
    def values(self) -> dict[str, Any]:
        """What decides the run, as JSON: values that differ from the defaults of `RunConfig`.

        Fields that get a default in a later version thus leave a cell what it was.
        """
        given, default = (c.model_dump(mode="json") for c in (self.config, RunConfig()))
        return {
            name: value
            for name, value in given.items()
            if name not in _NO_VALUES and value != default[name]
        }

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The whole configuration, and the processes."""
        values = flat_arguments(self.config.model_dump(mode="json"))
        return {**values, "processes": self.num_processes}

    @property
    def planned(self) -> dict[str, Any]:
        """What ``sweep.json`` says of it."""
        values = values_redacted(self.values) if self.config.anonymize else self.values
        return {"values": values, "num_processes": self.num_processes}

    def _decides(self) -> dict[str, Any]:
        decides = {**self.values, "num_processes": self.num_processes}
        decides |= {"code": self.code} if self.code else {}
        return decides | ({"data": self.data} if self.data else {})

    @cached_property
    def slug(self) -> str:
        """What a person knows it by: recipe or model, what was changed in it, seed, processes."""
        recipe = self.config.recipe
        base = RunConfig(recipe=recipe, **(RECIPES[recipe].settings if recipe else {}))
        plain = base.model_dump(mode="json")
        changed = {
            name: value
            for name, value in self.settings.items()
            if name not in _NOT_IN_SLUG and value not in (None, plain.get(name))
        }
        if not recipe:
            changed["model"] = self.config.model
        kinds = [as_text(changed.pop(field)) for field in _KINDS if field in changed]
        names = sorted(changed, key=lambda name: _FIELDS.index(name.partition(".")[0]))
        settings = [f"{name.rpartition('.')[2]}-{as_text(changed[name])}" for name in names]
        processes = f"-{self.num_processes}p" if self.num_processes > 1 else ""
        head = head_of([*([recipe] if recipe else []), *kinds, *settings])
        return f"{head}-seed-{self.seed}{processes}"

    def window(self, num_steps: int) -> RunCell:
        """See `Cell.window`; it evaluates once, at its end, which is on no train clock."""
        short = {"max_steps": num_steps, "eval_every_steps": num_steps, "seed": 0, **_SHORT}
        return replace(self, config=self.config.model_copy(update=short))

    def placed(self) -> RunCell:
        """The same cell, with its data where a process of another folder finds them."""
        if self.config.data_dir is None:
            return self
        absolute = str(Path(self.config.data_dir).expanduser().absolute())
        return replace(self, config=self.config.model_copy(update={"data_dir": absolute}))

    def start(
        self,
        folder: Path,
        *,
        num_threads: int | None = None,
        shared_cores: bool = False,
        work_dir: Path | None = None,
        start_child: Callable[..., Child] = Child,
    ) -> Child:
        """Start it in a child process, or in several by torchrun."""
        require_code()
        config_file = folder.absolute() / "cell.yaml"
        write_whole(config_file, yaml_text(self.config.model_dump(mode="json", exclude=_WHERE)))
        arguments = ["--config", str(config_file), "--output-dir", str(folder.absolute())]
        arguments.append("--quiet")
        if self.config.data_dir is not None:
            arguments += ["--data-dir", self.config.data_dir]
        if num_threads is not None and self.num_threads is None:
            arguments += ["--num-threads", str(num_threads)]
        environment = self._environment(shared_cores=shared_cores)
        return start_child(self._command(arguments), environment=environment, work_dir=work_dir)

    def ended(self, child: Child, *, folder: Path) -> Attempt:
        """What `child`, which has ended, left in `folder`."""
        records = sorted(folder.glob("*/record.json"))
        if records:
            try:
                return Attempt(self, load_record(records[0]))
            except InputError as error:
                return Attempt(self, None, str(error))
        refused = child.status == 2 or bool(_REFUSED.search(child.said))
        return Attempt(self, None, why_ended(child), refused)

    def _command(self, arguments: list[str]) -> list[str]:
        if self.num_processes == 1:
            return [sys.executable, "-m", "mnistbench.train", *arguments]
        launcher = torchrun_command("mnistbench.train", arguments, num_processes=self.num_processes)
        return [sys.executable, "-m", "mnistbench.launch.tied", *launcher]

    def _environment(self, *, shared_cores: bool) -> Mapping[str, str]:
        usual = device_environment() if self.num_processes > 1 else child_environment()
        told = {SHARED_CORES: "1"} if shared_cores else {}
        told |= {EXPECTED_CODE: self.code} if self.code else {}
        return {**usual, PARENT: str(os.getpid()), **told}
