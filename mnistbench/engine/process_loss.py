"""Processes that are lost: known by what the backends say of them, and put into one line."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import torch

from mnistbench.engine.memory import is_out_of_memory
from mnistbench.engine.rendezvous import process_label, unresponsive_processes
from mnistbench.schema.errors import ProcessLostError, RunError, first_line
from mnistbench.schema.signals import ENDS

_log = logging.getLogger(__name__)
_COMPILERS = ("torch._dynamo", "torch._inductor", "torch._functorch", "triton")
_BACKEND_SAYS = re.compile(
    r"gloo|connection (closed|reset) by peer|monitoredBarrier|socket timeout"
    r"|NCCL (communicator|error|timeout)|nccl(Remote|System|Internal|UnhandledCuda)Error"
    r"|remote process exited|Watchdog caught collective operation timeout",
    re.IGNORECASE,
)
_BARRIER_NAMES = re.compile(
    r"Ranks? (?P<ranks>\d[\d, ]*) (?:failed to pass monitoredBarrier in|"
    r"timed out in monitoredBarrier after) (?P<ms>\d+) ms"
)
_WAITED = re.compile(
    r"Timed out waiting (\d+)ms|timed? ?out after (\d+)ms|ran for (\d+) milliseconds before timing",
    re.IGNORECASE,
)
_TIMED_OUT = re.compile(r"socket timeout|timed out|NCCL timeout", re.IGNORECASE)
_GONE = re.compile(r"by peer|Broken pipe|remote process exited|Connection was likely closed")
_lost: list[str] = []
"""What this process has said of lost ones."""


def any_process_lost() -> bool:
    """Whether `exchange_errors` has found so: nothing can be exchanged any more."""
    return bool(_lost)


@contextmanager
def exchange_errors() -> Iterator[None]:
    """Turn what the backend says inside, when another process is lost, into one line.

    Raises:
        ProcessLostError: another process has gone, or did not answer in ``process_timeout_s``.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, RunError) or not is_process_loss(error):
            raise
        _outlive_the_launcher()
        _lost.append(_what_was_lost(error))
        raise ProcessLostError(_lost[-1]) from error


def is_process_loss(error: BaseException | None) -> bool:
    """Whether an exchange with other processes failed: no error of a compiler, or of memory.

    Of a compiler's error, that which it wraps decides.
    """
    if isinstance(error, ProcessLostError | torch.distributed.DistError):
        return not is_out_of_memory(error)
    if not isinstance(error, RuntimeError) or isinstance(error, RunError):
        return False
    if is_compiler_error(error):
        return is_process_loss(getattr(error, "inner_exception", None) or error.__cause__)
    return bool(_BACKEND_SAYS.search(str(error))) and not is_out_of_memory(error)


def is_compiler_error(error: BaseException) -> bool:
    """Whether it is of a type of torch's compiler or of Triton, without importing either."""
    return any(kind.__module__.startswith(_COMPILERS) for kind in type(error).__mro__)


def unanswered(waited_s: float) -> str:
    """One line on other processes that were waited for in vain, by name where that can be known."""
    return _silence(unresponsive_processes(), f"within {waited_s:g} s")


def end_unanswered(
    waited_s: float, *, put_on_record: Callable[[str], object] | None = None
) -> NoReturn:
    """End this process, whatever its main thread is in, with the line of `unanswered`."""
    said = unanswered(waited_s)
    if put_on_record:
        put_on_record(said)
    _log.error(f"error: {said}")  # as the command has it of a `RunError`
    os._exit(1)


def _what_was_lost(error: RuntimeError) -> str:
    label, said = process_label(), str(error)
    barrier = _BARRIER_NAMES.search(said)
    if barrier:
        unresponsive_processes()  # leaves word for the others, who ask at the same time
        ranks = [int(rank) for rank in re.findall(r"\d+", barrier["ranks"])]
        return _silence(ranks, f"within {int(barrier['ms']) / 1000:g} s, or has gone")
    if "connectFullMesh" in said:
        return (
            f"{label}: the processes met, but cannot connect to each other; name the network "
            "between the machines in GLOO_SOCKET_IFNAME (see `ip address`)"
        )
    if _GONE.search(said):
        return f"{label}: another process of the run has gone; see what it said"
    waited = _WAITED.search(said)
    if waited or _TIMED_OUT.search(said):
        ms = waited and next(filter(None, waited.groups()))
        return _silence(_silent(said), f"within {int(ms) / 1000:g} s" if ms else "in time")
    _, _, last = said.partition("Last error:")  # NCCL's own words, below which call it was
    return f"{label}: an exchange failed: {first_line(last) or first_line(error)}"


def _silent(said: str) -> list[int]:
    """The processes that do not answer, when this one's exchange ended as `said`."""
    silent = unresponsive_processes()
    if "monitoredBarrier" in said and "for recv" in said and len(silent) > 1:
        return [rank for rank in silent if rank != 0]  # it took our word, and waits for the others
    return silent


def _silence(ranks: Sequence[int], how_long: str) -> str:
    named = " and ".join(f"process {rank}" for rank in ranks) or "another process"
    return (
        f"{process_label()}: {named} did not answer {how_long}; see what it does, and if it is "
        "only slow raise --process-timeout-s"
    )


def _outlive_the_launcher() -> None:
    """Launchers end all processes once one has gone; this one ends by itself, after its record."""
    with suppress(ValueError):  # only the main thread is told of signals
        for number in ENDS:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_IGN)
