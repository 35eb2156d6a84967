"""The ``mnistbench`` command: runs the one that is named."""

from __future__ import annotations

import importlib
import sys

from mnistbench import __version__
from mnistbench.schema.streams import mend_streams, say, show
from mnistbench.schema.suggestions import did_you_mean

_COMMANDS = {
    "train": "train a network and measure it",
    "report": "show what runs reached",
    "compare": "test whether one is faster than another",
    "sweep": "run a resumable grid search",
    "tune": "find a learning rate for each loss or optimizer to be compared",
    "doctor": "check devices, launcher, data and disk",
    "schema": "print the JSON Schema of records",
}
_MODULES = {"schema": "record_schema"}
"""Commands whose module has another name."""
_USAGE = """usage: mnistbench COMMAND [OPTIONS]
       mnistbench COMMAND --help
       mnistbench --version
"""


def main() -> int:
    """Run ``mnistbench COMMAND OPTIONS…`` and return the exit status of the command."""
    mend_streams()
    name, *argv = sys.argv[1:] or ["help"]
    if name == "help" and argv:  # mnistbench help train
        name, argv = argv[0], ["--help"]
    if name in {"-h", "--help", "help"}:
        lines = [f"  {command:9}{text}" for command, text in _COMMANDS.items()]
        show("\n".join([f"mnistbench {__version__}\n", _USAGE, *lines]))
        return 0
    if name == "--version":
        show(f"mnistbench {__version__}")
        return 0
    if name not in _COMMANDS:
        near = (
            did_you_mean(name, (*_COMMANDS, "--help", "--version"))
            or f"; use one of {', '.join(_COMMANDS)}"
        )
        say(f"error: unknown command {name!r}{near}")
        return 2
    module = _MODULES.get(name, name)  # only that one: others cost imports
    command = importlib.import_module(f"mnistbench.{module}")
    return int(command.main(argv))


if __name__ == "__main__":
    sys.exit(main())
