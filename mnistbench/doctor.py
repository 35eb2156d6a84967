"""The command that checks: devices, threads, versions, launcher, data, disk; or components.

Before a launch: a launch configuration, and whether the machines that it names reach each other.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mnistbench.cli import exit_on_input_error, importing, read_config, show
from mnistbench.component_findings import COMPONENT_FLAGS, Finding, State, component_findings
from mnistbench.flags import CommandFlags, parse
from mnistbench.launch.children import Child, end_all
from mnistbench.launch.commands import child_environment, cpu_environment, torchrun_command
from mnistbench.launch.runs import why_ended
from mnistbench.recorder.compile_cache import cache_lines, kernels_folder
from mnistbench.recorder.core_use import load_now
from mnistbench.schema.errors import InputError
from mnistbench.schema.escaping import printable
from mnistbench.schema.files import check_writable
from mnistbench.schema.streams import progress

if TYPE_CHECKING:
    from mnistbench.engine.launch_config import LaunchConfig

_LAUNCH_TIMEOUT_S = 120
_CHECK = "mnistbench.engine.connectivity_check"
_LONGEST_WAIT_S = 86_400
_LEAST_DISK_BYTES = 500 * 2**20


class _Flags(CommandFlags):
    """Check what a run needs, or components and a network's layers; status 1 if any is broken."""

    prog: ClassVar = "mnistbench doctor"
    groups: ClassVar = {"Components": "model", "Machine": "data_dir", "Launch": "launch_config"}

    data_dir: Path | None = None
    """Folder of the data sets. Default: that of a run."""
    output_dir: Path = Path("runs")
    """Folder of the runs."""
    launch: bool = True
    """Start two processes and check that they connect; this takes some seconds."""
    launch_config: Path | None = None
    """File of `accelerate launch` to check; run this on all its machines at the same time."""
    machine_rank: int | None = None
    """Rank of this machine. Default: that in the file."""
    main_process_ip: str | None = None
    """Address of machine 0. Default: that in the file."""
    main_process_port: int | None = None
    """Port of machine 0. Default: that in the file."""
    timeout_s: float = Field(60.0, gt=0, le=_LONGEST_WAIT_S)
    """Longest wait for the other machines [seconds]."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`; exit status 1 if something is broken."""
    argv = sys.argv[1:] if argv is None else argv
    with exit_on_input_error(argv):
        flags, given = parse(_Flags, argv, COMPONENT_FLAGS)
        path = flags.launch_config
        if given:
            place = {"data_dir": str(flags.data_dir)} if flags.data_dir else {}
            findings = component_findings(read_config(given | place, None))
        else:
            findings = _before_launch(path, flags) if path else _checks(flags)
        states = [_shown(finding) for finding in findings]  # each as soon as it is found
    return 1 if "BROKEN" in states else 0


def _shown(finding: Finding | str) -> str:
    """Print `finding`, as wide as the terminal is, or a table, and give its state."""
    if isinstance(finding, str):
        show(finding)
        return "ok"
    head = f"{finding.check:<20}{finding.state:<8}"
    show(
        textwrap.fill(
            printable(finding.detail),
            width=shutil.get_terminal_size().columns,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
    return finding.state


def _checks(flags: _Flags) -> Iterator[Finding]:
    """What is found, the quick checks first; a line on stderr before each that takes seconds."""
    yield _disk(flags.output_dir)
    yield from (Finding("caches", "ok", line) for line in cache_lines())
    line = load_now()
    yield Finding(
        "load", "note" if line else "ok", line or "no other process seen to take cores from a run"
    )
    yield _finding("host name", _host_name)
    with ExitStack() as entered:
        launcher = None
        if flags.launch:  # which takes longest, beside the rest
            two = torchrun_command(_CHECK, [], num_processes=2)
            launcher = entered.enter_context(_started(two, cpu_environment()))
        progress("importing PyTorch")
        yield from _machine()
        progress("verifying the data sets")
        yield from _data(flags.data_dir)
        from mnistbench.engine.launch_config import launch_defaults

        yield _finding("launch defaults", lambda: launch_defaults() or "none saved")
        if launcher:
            progress("waiting for two processes, which import PyTorch and connect")
            yield _finding("launcher", partial(_ended, launcher))


def _machine() -> Iterator[Finding]:
    with importing():
        import torch

    from mnistbench.recorder.environment import describe_environment, set_threads
    from mnistbench.workload.kernels.library import why_unavailable

    found = describe_environment(torch.device("cpu"))
    lacking = None in found["versions"].values()
    versions = (f"{name} {version or 'missing'}" for name, version in found["versions"].items())
    yield Finding("versions", "BROKEN" if lacking else "ok", ", ".join(versions))
    cores = f"{found['num_usable_cores']} of {found['num_cores']} cores usable"
    memory = f"{found['memory_bytes'] / 2**30:.1f} GiB of memory"
    yield Finding("processor", "ok", f"{found['cpu_name']}, {cores}, {memory}")
    yield Finding("threads", "ok", f"{set_threads(None)} in a run of one process by default")
    progress("checking the kernels, which are compiled once")
    if why := why_unavailable(kernels_folder()):
        yield Finding("kernels", "note", f"{why}; runs use PyTorch's convolutions")
    else:
        yield Finding("kernels", "ok", "convolutions on the CPU are compiled for this processor")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    none = "none that PyTorch can use; runs use the CPU"
    yield Finding("GPU", "ok" if names else "note", ", ".join(names) or none)


def _data(data_dir: Path | None) -> Iterator[Finding]:
    from mnistbench.workload.datasets import DATASETS, default_data_dir, why_absent

    folder = data_dir or default_data_dir()
    absent = []
    for name in (one for one in DATASETS if one != "synthetic"):
        try:
            why = why_absent(name, folder)
        except InputError as error:
            yield Finding(f"data: {name}", "BROKEN", str(error))
            continue
        if why == f"not in {folder}":
            absent.append(name)
        else:
            state: State = "note" if why else "ok"
            yield Finding(f"data: {name}", state, why or f"verified in {folder}")
    if absent:
        mend = "a run that names one downloads it"
        yield Finding("data", "note", f"not in {folder}: {', '.join(absent)}; {mend}")


def _disk(output_dir: Path) -> Finding:
    def check() -> str:
        check_writable(output_dir)
        existing = next(
            p for p in (output_dir, *output_dir.absolute().parents) if os.access(p, os.F_OK)
        )
        free = shutil.disk_usage(existing).free
        if free < _LEAST_DISK_BYTES:
            raise InputError(f"only {free / 2**20:.0f} MiB free for {output_dir}; make room")
        return f"{free / 2**30:.1f} GiB free for {output_dir}"

    return _finding("disk", check)


def _host_name() -> str:
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except (OSError, UnicodeError):
        raise InputError(
            f"this machine's own name {name!r} is not known on it, and launchers may wait for ever "
            f"(torchrun --standalone); add the line `127.0.1.1 {name}` to /etc/hosts"
        ) from None
    return f"{name!r} is known"


@contextmanager
def _started(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Child]:
    """Have a launcher start processes, which check what those of a run check, and end."""
    child = Child(command, environment=environment)
    try:
        yield child
    finally:
        end_all([child])


def _ended(child: Child, patience_s: float = _LAUNCH_TIMEOUT_S) -> str:
    """What is found where the processes of `child` end as they should.

    Raises:
        InputError: a run would be refused, or they did not meet.
    """
    came = child.wait(patience_s)
    end_all([child])
    if child.status or not came:
        late = f"the processes did not meet in {patience_s:g} s"
        raise InputError(why_ended(child) if came else late)
    return "processes start, and see each other"


def _before_launch(path: Path, flags: _Flags) -> Iterator[Finding]:
    """What would go wrong with a launch; an unreadable file raises `InputError`."""
    progress("importing PyTorch")
    from mnistbench.engine.launch_config import read_launch_config

    config = read_launch_config(path).with_flags(
        machine_rank=flags.machine_rank,
        main_process_ip=flags.main_process_ip,
        main_process_port=flags.main_process_port,
    )
    yield Finding("launch config", "ok", config.summary())
    here = [
        _finding("processes", config.check_processes),
        _finding("devices", config.check_devices),
    ]
    yield from here
    if any(finding.state == "BROKEN" for finding in here):
        return  # nothing to meet for; the other machines find the same or miss this one
    progress("starting what the file says, which imports PyTorch as well: some 10 seconds")
    with _started(config.command(_CHECK), child_environment()) as child:
        start = _finding("start", lambda: _ended(child))
    yield start
    if start.state == "BROKEN":
        yield _finding("host name", _host_name)  # which may be why
        return
    progress(f"waiting for the other machines, for {flags.timeout_s:g} s at most")
    yield _finding("machines", lambda: _meet(config, flags.timeout_s))


def _meet(config: LaunchConfig, timeout_s: float) -> str:
    """Start one process here, which connects to those of the other machines as in a launch."""
    if config.num_machines == 1:
        return "one"  # Accelerate finds a free port by itself
    told = child_environment() | config.place()
    try:
        with _started([sys.executable, "-m", _CHECK, str(timeout_s)], told) as child:
            _ended(child, timeout_s + _LAUNCH_TIMEOUT_S)
    except InputError as error:
        raise InputError(
            f"of one process on each machine, {error}; run doctor on all at the same time"
        ) from None
    return f"all {config.num_machines} met at {told['MASTER_ADDR']}:{told['MASTER_PORT']}"


def _finding(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, "ok", look())
    except InputError as error:
        return Finding(check, "BROKEN", str(error))


if __name__ == "__main__":
    sys.exit(main())
