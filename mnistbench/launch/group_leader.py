"""``python -I -S group_leader.py PARENT COMMAND…``: COMMAND, whose process group ends with PARENT.

For commands of the user's own, which know nothing of parents, and what they start. A file of its
own, without the package: the user's interpreter and folders are not asked for it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GRACE_S = 10.0
"""What the group has to put itself on record."""


def main() -> None:
    """Run the command of ``sys.argv``; end as it does."""
    parent, command = int(sys.argv[1]), sys.argv[2:]

    def stop(*_: object) -> None:
        if os.getppid() != parent:  # else it has told the whole group itself
            raise InterruptedError

    signal.signal(signal.SIGTERM, stop)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    process = subprocess.Popen(command)  # noqa: S603 - what the user asked for
    try:
        stop()
        status = process.wait()
    except InterruptedError:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        os.killpg(0, signal.SIGKILL)
    if status < 0:
        with suppress(OSError):  # of SIGKILL, which has no other reaction
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
