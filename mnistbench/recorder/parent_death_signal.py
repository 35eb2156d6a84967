"""A process that ends with the one that started it, whatever ended that."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from mnistbench.schema.errors import InputError
from mnistbench.schema.whole_number import whole_number

__all__ = ["PARENT", "die_with_parent"]

PARENT = "MNISTBENCH_PARENT_PID"
"""Variable by which a process names itself to those it starts, if its end is to be theirs."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends; outside Linux nothing happens.

    A parent that was killed cannot end what it started. One that named itself by `PARENT` has it
    killed, at once if it is gone already; for another, such as a launcher, it is SIGTERM, which
    leaves time for a record. The order outlives ``exec``, but not ``fork``: children have to
    give their own.
    """
    if sys.platform != "linux":
        return
    named = os.environ.get(PARENT, "")
    if named and whole_number(named) is None:
        raise InputError(f"{PARENT}: should be the number of a process (got {named!r}); unset it")
    number = signal.SIGKILL if named else signal.SIGTERM
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if named and int(named) != os.getppid():
        said = f"{PARENT}: process {named}, with which this one was to end, is not its parent (now)"
        sys.stderr.write(f"mnistbench: error: {said}; if it was left over, unset it\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
