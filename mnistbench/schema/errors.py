"""What stops a run from outside: input to mend, another process's end, or a signal."""

from __future__ import annotations

import reprlib

from pydantic import ValidationError

__all__ = ["InputError", "ProcessLostError", "SaidElsewhereError", "Terminated", "one_line"]


class InputError(ValueError):
    """Bad usage or bad input: one line that says what, where and the mend.

    Doors print it as ``mnistbench: error: …`` and exit with status 2, without a traceback.
    """


class SaidElsewhereError(InputError):
    """An `InputError` that the main process of the run raises and tells as well."""


class ProcessLostError(RuntimeError):
    """Other processes of the run did not come, have gone or do not answer.

    The door prints it, one line on each process left, and exits with status 1.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM, where Ctrl-C would raise KeyboardInterrupt: end, and leave a record."""


def one_line(error: ValidationError) -> str:
    """The first of pydantic's errors as ``field: what (got value)``."""
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"] if isinstance(part, int | str))
    if first["type"] == "value_error":
        return str(first["ctx"]["error"]) if not path else f"{path}: {first['ctx']['error']}"
    if first["type"] == "extra_forbidden":
        return f"{path}: unknown key"
    got = reprlib.repr(first["input"])
    message = first["msg"].replace("Input should", "should")
    return f"{path}: {message} (got {got})"
