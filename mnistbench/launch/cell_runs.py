"""One attempt at a cell: its command, and what it left."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from mnistbench.launch.cells import Attempt, Cell
from mnistbench.launch.children import Child
from mnistbench.launch.commands import child_environment, device_environment, torchrun_command
from mnistbench.launch.runs import require_code, why_ended
from mnistbench.recorder.limits import SHARED_CORES
from mnistbench.recorder.parent_death_signal import PARENT
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.plain_yaml import yaml_text
from mnistbench.schema.store import load_record
from mnistbench.schema.user_code import EXPECTED_CODE

__all__ = ["ended", "start_cell"]

_WHERE = {"data_dir", "output_dir"}  # which an anonymous run leaves in no file
_REFUSED = re.compile(r"Root Cause.*exitcode\s*:\s*2\b", re.DOTALL)


def start_cell(
    cell: Cell,
    *,
    folder: Path,
    num_threads: int | None = None,
    shared_cores: bool = False,
    work_dir: Path | None = None,
) -> Child:
    """Start `cell` in a child process, or several by torchrun; end it by `end_all`, ask `ended`.

    Args:
        cell: what to run.
        folder: a new folder for it; a record comes to ``folder/<run_id>/record.json``.
        num_threads: CPU threads of each process, unless the cell has its own; none leaves it to
            the run, which divides all cores over its processes.
        shared_cores: put on record that other runs shared the cores.
        work_dir: where it finds code and data of the user's own; none is this process's.

    Raises:
        InputError: `folder` cannot be written, or a child would run other code than this.
    """
    require_code()
    config_file = folder.absolute() / "cell.yaml"
    write_whole(config_file, yaml_text(cell.config.model_dump(mode="json", exclude=_WHERE)))
    arguments = ["--config", str(config_file), "--output-dir", str(folder.absolute()), "--quiet"]
    if cell.config.data_dir is not None:
        arguments += ["--data-dir", cell.config.data_dir]
    if num_threads is not None and cell.config.num_threads is None:
        arguments += ["--num-threads", str(num_threads)]
    environment = _environment(cell, shared_cores=shared_cores)
    return Child(_command(cell, arguments), environment=environment, work_dir=work_dir)


def ended(cell: Cell, child: Child, *, folder: Path) -> Attempt:
    """What `child` made of `cell` in `folder`, once it has ended."""
    records = sorted(folder.glob("*/record.json"))
    if records:
        try:
            return Attempt(cell, load_record(records[0]))
        except InputError as error:
            return Attempt(cell, None, str(error))
    refused = child.status == 2 or bool(_REFUSED.search(child.said))
    return Attempt(cell, None, why_ended(child), refused)


def _command(cell: Cell, arguments: list[str]) -> list[str]:
    if cell.num_processes == 1:
        return [sys.executable, "-m", "mnistbench.train", *arguments]
    launcher = torchrun_command("mnistbench.train", arguments, num_processes=cell.num_processes)
    return [sys.executable, "-m", "mnistbench.launch.tied", *launcher]


def _environment(cell: Cell, *, shared_cores: bool) -> Mapping[str, str]:
    usual = device_environment() if cell.num_processes > 1 else child_environment()
    told = {SHARED_CORES: "1"} if shared_cores else {}
    told |= {EXPECTED_CODE: cell.code} if cell.code else {}
    return {**usual, PARENT: str(os.getpid()), **told}
