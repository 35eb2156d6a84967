"""Do the machines of a run reach each other? Asked before a launcher is started on any of them.

Machine 0 listens at the port where the run will meet; the others call it and wait for its answer.
Launchers fail at the same things with pages of tracebacks, after their own time, or not at all.
"""

from __future__ import annotations

import errno
import socket
import time
from contextlib import ExitStack, suppress

from mnistbench.schema.errors import InputError

__all__ = ["answer_roll", "call_roll"]

_GREETING = "mnistbench roll call"
_HEARD, _ALL_HERE = "heard", "all here"
_LONGEST_LINE = 1000
_LISTEN_S, _RETRY_S = 2.0, 0.2


def call_roll(port: int, *, num_machines: int, timeout_s: float) -> None:
    """On machine 0: wait until every other machine has called at `port`, and tell them so.

    Raises:
        InputError: the port is busy, or machines did not call within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    missing = set(range(1, num_machines))
    with ExitStack() as stack:
        server = stack.enter_context(_listen(port))
        callers = []
        while missing and (left_s := deadline - time.monotonic()) > 0:
            server.settimeout(left_s)
            with suppress(TimeoutError):
                caller = stack.enter_context(server.accept()[0])
                rank = _rank_of(caller, num_machines)
                if rank is not None:
                    missing.discard(rank)
                    callers.append(caller)
        verdict = _ALL_HERE if not missing else _missing(missing, timeout_s)
        for caller in callers:
            with suppress(OSError):  # who has gone is not told
                caller.sendall(f"{verdict}\n".encode())
    if missing:
        raise InputError(verdict)


def answer_roll(
    address: str, port: int, *, machine_rank: int, num_machines: int, timeout_s: float
) -> None:
    """On another machine: call machine 0 at `address` and `port`, and wait for all to be there.

    Raises:
        InputError: machine 0 was not reached within `timeout_s` seconds, something else answers
            there, or another machine is missing.
    """
    deadline = time.monotonic() + timeout_s
    with _connect(address, port, deadline) as connection:
        connection.settimeout(max(deadline - time.monotonic(), 0) + _LISTEN_S)
        lines = connection.makefile("r", encoding="utf-8", errors="replace", newline="\n")
        heard = verdict = ""
        with suppress(OSError):
            connection.sendall(f"{_GREETING} {machine_rank}/{num_machines}\n".encode())
            heard = lines.readline(_LONGEST_LINE).strip()
            verdict = lines.readline(_LONGEST_LINE).strip() if heard == _HEARD else heard
    if verdict == _ALL_HERE:
        return
    if verdict.startswith("machine_rank:"):
        raise InputError(verdict)
    if heard == _HEARD:
        raise InputError(
            f"machine_rank: machine 0 answered, but not all machines called it within {timeout_s:g}"
            " s; run doctor on every machine at the same time"
        )
    raise InputError(
        f"main_process_port: what answers at {address}:{port} is not `mnistbench doctor` of "
        "machine 0; start it there, or use a free port"
    )


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise InputError(f"main_process_port: {port}: {error.strerror}; use another") from None
        raise InputError(
            f"main_process_port: {port} is busy on this machine; use a free one on all machines"
        ) from None


def _rank_of(caller: socket.socket, num_machines: int) -> int | None:
    """Who calls; ``None`` is told to whoever is no machine of this run."""
    caller.settimeout(_LISTEN_S)
    try:
        said = _read_line(caller)
        known = {f"{_GREETING} {rank}/{num_machines}": rank for rank in range(1, num_machines)}
        if said.startswith(_GREETING) and said not in known:
            theirs = said.removeprefix(_GREETING).strip()
            wrong = f"machine_rank: machine 0 knows 0 to {num_machines - 1}, not {theirs!r}"
            caller.sendall(f"{wrong}; use one file on all\n".encode())
        rank = known.get(said)
        if rank is not None:
            caller.sendall(f"{_HEARD}\n".encode())
    except OSError:
        return None
    return rank


def _connect(address: str, port: int, deadline: float) -> socket.socket:
    """Try until `deadline`: machine 0 may be asked later than this one."""
    while True:
        try:
            left_s = max(deadline - time.monotonic(), _RETRY_S)
            return socket.create_connection((address, port), timeout=left_s)
        except (socket.gaierror, UnicodeError):  # the latter of names such as 10.0.0..1
            wrong = "is not a name or address known on this machine"
        except OSError as error:
            wrong = f"does not answer at port {port} ({error.strerror or error})"
        if time.monotonic() + _RETRY_S >= deadline:
            raise InputError(
                f"main_process_ip: {address} {wrong}; run doctor on machine 0 at the same time, "
                "and check address, port and firewall"
            )
        time.sleep(_RETRY_S)


def _read_line(connection: socket.socket) -> str:
    """One line, without its end; what is there if the other side ends or goes on too long."""
    said = b""
    while not said.endswith(b"\n") and len(said) < _LONGEST_LINE:
        more = connection.recv(_LONGEST_LINE)
        if not more:
            break
        said += more
    return said.decode(errors="replace").strip()


def _missing(ranks: set[int], waited_s: float) -> str:
    named = ", ".join(map(str, sorted(ranks)))
    return (
        f"machine_rank: {named} did not call machine 0 within {waited_s:g} s; run doctor on every "
        "machine at the same time"
    )
