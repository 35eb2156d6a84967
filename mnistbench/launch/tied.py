"""``python -m mnistbench.launch.tied COMMAND…``: a command that ends with the process before it.

For launchers, which know nothing of parents: this becomes `COMMAND`, and what that starts has it as
the parent to end with.
"""

from __future__ import annotations

import os
import sys

from mnistbench.recorder.parent_death_signal import PARENT, die_with_parent


def main() -> None:
    """Become the command of ``sys.argv``."""
    die_with_parent()
    os.environ[PARENT] = str(os.getpid())  # which stays the same through exec
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - our own command


if __name__ == "__main__":
    main()
