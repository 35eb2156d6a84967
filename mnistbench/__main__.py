"""The ``mnistbench`` command: picks a door."""

from __future__ import annotations

import importlib
import sys

from mnistbench import __version__
from mnistbench.schema.streams import mend_streams, say, show

__all__ = ["main"]

_DOORS = {
    "train": "train a network and measure it",
    "report": "show what runs reached",
    "compare": "tell whether one is faster than another",
    "sweep": "train every combination of values, in any number of goes",
    "doctor": "check devices, launcher, data and disk",
}


def main() -> int:
    """Run ``mnistbench DOOR ARGS…`` and return the door's exit status."""
    mend_streams()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in {"-h", "--help"}:
        lines = [f"  {door:8}{text}" for door, text in _DOORS.items()]
        usage = "usage: mnistbench DOOR [ARGS]\n       mnistbench --version\n"
        show("\n".join([f"mnistbench {__version__}\n", usage, *lines]))
        return 0
    if name == "--version":
        show(f"mnistbench {__version__}")
        return 0
    if name not in _DOORS:
        known = ", ".join(_DOORS)
        say(f"error: unknown command {name!r}; use one of {known}")
        return 2
    door = importlib.import_module(f"mnistbench.{name}")  # only that one: others cost imports
    return int(door.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
