"""A process that ends with the one that started it, whatever ended that."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT = "MNISTBENCH_PARENT_PID"
"""Variable by which a process names itself to those it starts, if its end is to be theirs."""

FIRST_RUN = "MNISTBENCH_FIRST_RUN"
"""Variable that tells a process whose forks run what the first is asked for: folder, arguments."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends; outside Linux nothing happens.

    A parent that named itself by `PARENT` has it killed, at once if it is gone already; for another
    it is SIGTERM, which leaves time for a record. The order outlives ``exec``, but not ``fork``.
    """
    if sys.platform != "linux":
        return
    named = os.environ.get(PARENT, "")
    number = signal.SIGKILL if named else signal.SIGTERM
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if named and named != str(os.getppid()):
        said = f"{PARENT}: this process was to end with {named!a}, and has another parent (now)"
        os.write(2, f"mnistbench: error: {said}; if it was left over, unset it\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
