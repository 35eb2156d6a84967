"""Two network namespaces of this machine with a cable between them, as slow as asked for.

Linux only, and root only: a namespace is a machine as far as the network goes. The rate is kept by
``htb``, latency by ``netem``, which not every kernel has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_INTERFACE = "link0"
_PREFIX = "mnistbench-"


@dataclass(frozen=True)
class NetworkLink:
    """A cable between machines 0 and 1: namespaces ``<name>-0`` and ``<name>-1``."""

    name: str
    megabits_per_s: float
    delay_ms: float

    @property
    def address(self) -> str:
        """Of machine 0."""
        return "10.77.0.1"

    @property
    def variables(self) -> dict[str, str]:
        """What tells gloo and NCCL to use the cable."""
        return {"GLOO_SOCKET_IFNAME": _INTERFACE, "NCCL_SOCKET_IFNAME": _INTERFACE}

    def inside(self, machine: int) -> list[str]:
        """The words before a command that let it run on that machine, 0 or 1."""
        return ["ip", "netns", "exec", f"{self.name}-{machine}"]


@contextmanager
def network_link(*, megabits_per_s: float, delay_ms: float = 0.0) -> Iterator[NetworkLink]:
    """Make the two machines and their cable, and take them away again.

    Args:
        megabits_per_s: rate in each direction.
        delay_ms: delay in each direction [milliseconds].

    Raises:
        subprocess.CalledProcessError: the kernel lacks something, or this user may not; ask
            `why_no_links` and `why_no_latency` before.
    """
    _remove_left_behind()
    link = NetworkLink(f"{_PREFIX}{os.getpid()}", megabits_per_s, delay_ms)
    try:
        _make(link)
        yield link
    finally:
        for machine in (0, 1):  # the cable goes with them
            _quietly("ip", "netns", "delete", f"{link.name}-{machine}")


def why_no_links() -> str | None:
    """Why `network_link` cannot work here, if so: a reason to skip for."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    missing = [program for program in ("ip", "tc") if shutil.which(program) is None]
    if missing:
        return f"{missing[0]} is not installed (package iproute2)"
    refusal = _refusal(delay_ms=0.0)
    return f"no network namespaces here: {refusal}" if refusal else None


def why_no_latency() -> str | None:
    """Why a link cannot be given latency here, if so."""
    if reason := why_no_links():
        return reason
    refusal = _refusal(delay_ms=1.0)
    return f"no netem in this kernel: {refusal}" if refusal else None


def _refusal(*, delay_ms: float) -> str | None:
    try:
        with network_link(megabits_per_s=10, delay_ms=delay_ms):
            return None
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip()


def _make(link: NetworkLink) -> None:
    first, second = f"{link.name}-0", f"{link.name}-1"
    for name in (first, second):
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
    ends = ["type", "veth", "peer", "name", _INTERFACE, "netns", second]
    _run("ip", "link", "add", _INTERFACE, "netns", first, *ends)
    for index, name in enumerate((first, second)):
        _run("ip", "-n", name, "address", "add", f"10.77.0.{index + 1}/24", "dev", _INTERFACE)
        _run("ip", "-n", name, "link", "set", _INTERFACE, "up")
        _slow(name, link)


def _slow(name: str, link: NetworkLink) -> None:
    """Each end holds back what it sends."""
    inside = ("ip", "netns", "exec", name, "tc")
    rate = f"{link.megabits_per_s * 1e6:.0f}bit"
    _run(*inside, *f"qdisc add dev {_INTERFACE} root handle 1: htb default 1".split())
    # the quantum, one full packet, only matters between classes, and there is one
    words = f"class add dev {_INTERFACE} parent 1: classid 1:1 htb rate {rate} quantum 1514"
    _run(*inside, *words.split())
    if link.delay_ms:
        words = f"qdisc add dev {_INTERFACE} parent 1:1 handle 10: netem delay {link.delay_ms}ms"
        _run(*inside, *words.split())


def _remove_left_behind() -> None:
    """Namespaces of processes that were killed before they could clean up."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False)  # noqa: S607
    for line in listed.stdout.splitlines():
        name = line.split(" ")[0]
        owner = name.removeprefix(_PREFIX).split("-")[0]
        if name.startswith(_PREFIX) and owner.isdecimal() and not _alive(int(owner)):
            _quietly("ip", "netns", "delete", name)


def _alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own


def _quietly(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own
