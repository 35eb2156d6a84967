"""The door to diagnosis: devices, threads, versions, launcher, data, disk; or one network.

Before a launch: a launch configuration, and whether the machines that it names reach each other.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mnistbench.cli import exit_on_input_error, importing, parse, show
from mnistbench.launch.cell_runs import why_ended
from mnistbench.launch.children import Child, end_all
from mnistbench.launch.commands import child_environment, cpu_environment, torchrun_command
from mnistbench.output.screen import Screen
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable
from mnistbench.schema.names import ModelName

if TYPE_CHECKING:
    from mnistbench.engine.launch_config import LaunchConfig

__all__ = ["main"]

_LAUNCH_TIMEOUT_S = 120
_CHECK = "mnistbench.engine.connectivity_check"
_LONGEST_WAIT_S = 86_400
_SUMMARY_COLUMNS = 94  # of a table of layers with their kernels
_LEAST_DISK_BYTES = 500 * 2**20


@dataclass(frozen=True, kw_only=True)
class _Flags:
    model: ModelName | None = None
    """Show this network's layers, shapes and parameters instead."""
    data_dir: Path | None = None
    """Folder of the data sets; none is where training looks."""
    output_dir: Path = Path("runs")
    """Folder that runs would be written to."""
    launch: bool = True
    """Start two processes to see whether they find each other (some seconds)."""
    launch_config: Path | None = None
    """Check this file for `accelerate launch` instead; with several machines, run this on each of
    them at the same time, just before the launch."""
    machine_rank: int | None = None
    """This machine's place among those of --launch-config; none is the file's."""
    main_process_ip: str | None = None
    """Address of machine 0 for --launch-config; none is the file's."""
    main_process_port: int | None = None
    """Port on machine 0 for --launch-config; none is the file's."""
    timeout_s: float = 60.0
    """Longest wait for the other machines of --launch-config [seconds]."""


class _Finding(NamedTuple):
    check: str
    broken: bool
    detail: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door with `argv`; exit status 1 if something is broken."""
    with exit_on_input_error():
        flags = parse(
            _Flags,
            sys.argv[1:] if argv is None else argv,
            prog="mnistbench.doctor",
            description="Check what a run needs; exit 1 if something is broken.",
        )
        if flags.model is not None:
            show(_model_summary(flags.model))
            return 0
        if flags.launch_config is not None:
            findings = _before_launch(flags.launch_config, flags)
        else:
            findings = [*_machine(), *_data(flags.data_dir), _disk(flags.output_dir)]
            findings.append(_launch_defaults())
            if flags.launch:
                two = torchrun_command(_CHECK, [], num_processes=2)
                findings.append(_finding("host name", _host_name))
                findings.append(_finding("launcher", lambda: _start(two, cpu_environment())))
    rows = [
        {"check": f.check, "": "BROKEN" if f.broken else "ok", "found": f.detail} for f in findings
    ]
    show(Screen.of(sys.stdout).table(rows, longest=sys.maxsize))  # the mend stands at the end
    return 1 if any(finding.broken for finding in findings) else 0


def _model_summary(name: ModelName) -> str:
    import torchinfo

    from mnistbench.workload.models import build_model

    fits = shutil.get_terminal_size().columns >= _SUMMARY_COLUMNS
    summary = torchinfo.summary(
        build_model(RunConfig(model=name)),
        input_size=(1, 1, 28, 28),
        col_names=("output_size", *(["kernel_size"] if fits else []), "num_params"),
        col_width=18,
        verbose=0,
    )
    return f"{name}\n{summary}"


def _machine() -> list[_Finding]:
    with importing():
        import torch

    from mnistbench.recorder.environment import describe_environment, set_threads

    found = describe_environment(torch.device("cpu"))
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    cores = f"{found['num_usable_cores']} of {found['num_cores']} cores usable, "
    cores += f"{found['memory_bytes'] / 2**30:.1f} GiB of memory"
    findings = [
        _Finding("versions", any(v is None for v in found["versions"].values()), versions),
        _Finding("processor", False, f"{found['cpu_name']}, {cores}"),
        _Finding("threads", False, f"{set_threads(None)} in a run of one process by default"),
        _Finding("load", False, f"{found['load_average_1min']:.2f} over the last minute"),
    ]
    if not torch.cuda.is_available():
        return [*findings, _Finding("GPU", False, "none found: runs use the CPU")]
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return [*findings, _Finding("GPU", False, ", ".join(names))]


def _data(data_dir: Path | None) -> list[_Finding]:
    from mnistbench.workload.datasets import DATASETS, default_data_dir, why_absent

    folder = data_dir or default_data_dir()
    findings = []
    for name in DATASETS:
        if name == "synthetic":
            findings.append(_Finding(f"data: {name}", False, "generated on demand"))
            continue
        found = _finding(
            f"data: {name}",
            lambda name=name: why_absent(name, folder) or f"verified in {folder}",  # type: ignore[misc]
        )
        findings.append(found)
    return findings


def _disk(output_dir: Path) -> _Finding:
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


def _launch_defaults() -> _Finding:
    from mnistbench.engine.launch_config import launch_defaults

    return _finding(
        "launch defaults",
        lambda: (
            f"{found}; for every `accelerate launch`"
            if (found := launch_defaults())
            else "none; `accelerate launch` uses its own"
        ),
    )


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


def _start(
    command: Sequence[str], environment: Mapping[str, str], patience_s: float = _LAUNCH_TIMEOUT_S
) -> str:
    """Have a launcher start processes, which check what those of a run check, and end.

    Raises:
        InputError: a run would be refused, or they did not meet.
    """
    child = Child(command, environment=environment)
    try:
        came = child.wait(patience_s)
    finally:
        end_all([child])
    if child.status or not came:
        late = f"the processes did not meet in {patience_s:g} s"
        raise InputError(why_ended(child) if came else late)
    return "processes start, and see each other"


def _before_launch(path: Path, flags: _Flags) -> list[_Finding]:
    """What would go wrong with a launch; an unreadable file raises `InputError`."""
    from mnistbench.engine.launch_config import read_launch_config

    config = read_launch_config(path).with_flags(
        machine_rank=flags.machine_rank,
        main_process_ip=flags.main_process_ip,
        main_process_port=flags.main_process_port,
    )
    findings = [
        _Finding("launch config", False, config.summary()),
        _finding("processes", config.check_processes),
        _finding("devices", config.check_devices),
    ]
    if any(finding.broken for finding in findings):
        return findings  # nothing to meet for; the other machines find the same or miss this one
    findings.append(_finding("start", lambda: _start(config.command(_CHECK), child_environment())))
    if findings[-1].broken:
        return [*findings, _finding("host name", _host_name)]  # which may be why
    return [*findings, _finding("machines", lambda: _meet(config, flags.timeout_s))]


def _meet(config: LaunchConfig, timeout_s: float) -> str:
    """Start one process here, which meets those of the other machines where a launch will.

    With one machine there is nobody to meet: Accelerate finds a free port by itself.
    """
    if config.num_machines == 1:
        return "one"
    if not 0 < timeout_s <= _LONGEST_WAIT_S:
        raise InputError(f"timeout_s: should be from 0 to {_LONGEST_WAIT_S} (got {timeout_s})")
    told = child_environment() | config.place()
    try:
        _start([sys.executable, "-m", _CHECK, str(timeout_s)], told, timeout_s + _LAUNCH_TIMEOUT_S)
    except InputError as error:
        raise InputError(
            f"of one process on each machine, {error}; run doctor on all at the same time"
        ) from None
    return f"all {config.num_machines} met at {told['MASTER_ADDR']}:{told['MASTER_PORT']}"


def _finding(check: str, look: Callable[[], str]) -> _Finding:
    try:
        return _Finding(check, False, look())
    except InputError as error:
        return _Finding(check, True, str(error))


if __name__ == "__main__":
    sys.exit(main())
