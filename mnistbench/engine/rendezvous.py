"""Where processes meet: PyTorch's rendezvous by the environment, with an end to the waiting.

PyTorch's own can take twice its timeout, and waits for ever at a port where somebody listens and
says nothing. Here it runs in a thread, and what it waited for in vain is told in one line.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from secrets import token_hex
from typing import Any

from accelerate.utils import InitProcessGroupKwargs
from torch.distributed import HashStore, PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import register_rendezvous_handler, rendezvous

from mnistbench.recorder.launcher import this_launch
from mnistbench.schema.errors import ProcessLostError, first_line

Rendezvous = tuple[Any, int, int]
"""The store where processes leave word for each other, this one's index, and their number."""

_SCHEME = "mnistbench"
_LONGER_THAN_ANY = timedelta(days=7)
_CALL_S = 2.0
_POLL_S = 0.01
_met: list[Any] = []
"""The store of this life, once all have met."""


def rendezvous_kwargs(timeout_s: float) -> InitProcessGroupKwargs:
    """For `Accelerator`: processes meet, and answer in any exchange, in `timeout_s` seconds.

    Making the group raises `ProcessLostError` where they do not meet.
    """
    # Accelerate drops what equals its defaults, and PyTorch's are others
    timeout = timedelta(seconds=timeout_s, microseconds=1)
    return InitProcessGroupKwargs(init_method=f"{_SCHEME}://", timeout=timeout)


def process_label() -> str:
    """Which process this is, in words."""
    launch = this_launch()
    return f"process {launch.rank} of {launch.world_size}"


def unresponsive_processes() -> list[int]:
    """The processes of the run that leave no word when all that can are asked to; none if unknown.

    Those whose exchange has failed call this at about the same time.
    """
    number, mine = this_launch().world_size, this_launch().rank
    if number <= 2 or not _met:
        return [1 - mine] if number == 2 else []
    silent: list[int] = []

    def ask() -> None:
        with suppress(RuntimeError):  # who keeps the store has gone with it
            _met[0].set(f"alive-{mine}", "yes")
            time.sleep(_CALL_S / 2)
            silent.extend(n for n in range(number) if not _word(_met[0], f"alive-{n}"))

    thread = threading.Thread(target=ask, daemon=True)  # who keeps the store may be the silent one
    thread.start()
    thread.join(_CALL_S)
    return silent


def _meet(_url: str, timeout: timedelta, **_: Any) -> Iterator[Rendezvous]:
    """PyTorch's ``env://``, in a thread that can be left behind; alone, nobody is waited for."""
    rank, number = this_launch().rank, this_launch().world_size
    if number == 1:
        yield HashStore(), 0, 1
        return
    came: list[Rendezvous] = []
    failed: list[Exception] = []
    missing = set(range(1, number))
    over = threading.Event()

    def go() -> None:
        try:
            # without a number it does not itself wait for others, of whom it could name none
            store, *_ = next(iter(rendezvous("env://?world_size=-1", timeout=_LONGER_THAN_ANY)))
            life = _name_of_this_life(store, rank, number, missing=missing, over=over)
            if life is None:
                return
            store.set_timeout(timeout)
            came.append((PrefixStore(life, store), rank, number))
        except Exception as error:  # raised below, where it can be caught
            failed.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(timeout.total_seconds())
    if failed:
        said = f"{process_label()}: {first_line(failed[0])}"
        if "EADDRINUSE" in said:
            busy = f"port {this_launch().master[1]} of this machine is busy"
            said = f"{process_label()}: {busy}; set MASTER_PORT to a free one"
        raise ProcessLostError(said) from failed[0]
    if not came:
        why = _why_apart(timeout.total_seconds(), missing)
        over.set()
        thread.join(_CALL_S)  # a thread that calls the store as Python ends aborts the process
        raise ProcessLostError(why)
    _met[:] = [came[0][0]]
    yield came[0]


def _name_of_this_life(
    store: Any, rank: int, number: int, *, missing: set[int], over: threading.Event
) -> str | None:
    """A name that process 0 draws and that all `number` have, as soon as all are here; or `over`.

    A launcher that starts its processes again keeps the store, and gloo, without a name of its own
    for each life, reads there where the processes listened that are dead. Process 0 takes those
    that have come out of `missing`; one that was told of another number never comes.
    """
    if rank == 0:
        life = token_hex(8)
        store.set("life", life)
        while missing:
            if over.wait(_POLL_S):
                return None
            for other in sorted(missing):
                answer = _word(store, f"here-{other}-of-{number}")
                if answer.startswith(life):
                    store.set(f"come-{other}", answer)
                    missing.remove(other)
        return life
    mine = token_hex(8)  # what an earlier life left is for others
    while not over.wait(_POLL_S):
        life = _word(store, "life")
        answer = f"{life} {mine}"
        store.set(f"here-{rank}-of-{number}", answer)
        if _word(store, f"come-{rank}") == answer:
            return life
    return None


def _word(store: Any, key: str) -> str:
    return str(store.get(key).decode()) if store.check([key]) else ""


def _why_apart(waited_s: float, missing: set[int]) -> str:
    label = process_label()
    address, port = this_launch().master
    where, waited = f"{address}:{port}", f"within {waited_s:g} s"
    try:
        socket.create_connection((address, port), timeout=_CALL_S).close()
    except (socket.gaierror, UnicodeError):  # the latter of names such as 10.0.0..1
        return f"{label}: MASTER_ADDR {address!r} is not a name or address known on this machine"
    except OSError as error:
        return (
            f"{label} did not reach the main process at {where} {waited} "
            f"({error.strerror or error}); start it, on the machine that MASTER_ADDR names"
        )
    found, apart = "found something", "not all processes met there"
    if this_launch().rank == 0 and missing:
        named = " and ".join(f"process {other}" for other in sorted(missing))
        found, apart = "waited", f"{named} did not come"
    return (
        f"{label} {found} at {where}, but {apart} {waited}; start them on every machine with the "
        "same WORLD_SIZE, MASTER_ADDR (of process 0) and MASTER_PORT (used by no other program)"
    )


register_rendezvous_handler(_SCHEME, _meet)  # type: ignore[no-untyped-call]
