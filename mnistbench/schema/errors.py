"""What stops a run from outside: input to mend, another process's end, or a signal."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from pydantic import ValidationError

__all__ = [
    "InputError",
    "ProcessLostError",
    "RunError",
    "SaidElsewhereError",
    "Terminated",
    "first_line",
    "in_one_line",
    "one_line",
]

_LONGEST_NAME = 80
_SAID = {
    "string_type": "should be a valid string; put it in quotes",
    "string_unicode": "should be a text in UTF-8",
    "tuple_type": "should be a list, such as [a, b]",
}
"""What some of pydantic's errors are called instead."""


class InputError(ValueError):
    """Bad usage or bad input: one line that says what, where and the mend.

    Doors print it as ``mnistbench: error: …`` and exit with status 2, without a traceback.
    """


class SaidElsewhereError(InputError):
    """An `InputError` that the main process of the run raises and tells as well."""


class RunError(RuntimeError):
    """Why a run that had begun cannot go on, in one line.

    The door prints it, without a traceback, and exits with status 1.
    """


class ProcessLostError(RunError):
    """Other processes of the run did not come, have gone or do not answer."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, where Ctrl-C would raise KeyboardInterrupt: end, and leave a record."""


def first_line(said: BaseException | str) -> str:
    """The first line with words of an error or a text; of an empty error the name of its type."""
    lines = str(said).strip().splitlines()
    if lines:
        return lines[0].rstrip()
    return "" if isinstance(said, str) else type(said).__name__


def one_line(error: ValidationError, *, names: Iterable[str] = ()) -> str:
    """The first of pydantic's errors as ``field: what (got value)``.

    Args:
        error: what validation found.
        names: keys that are known, which an unknown key may be meant to be.
    """
    first = error.errors(include_url=False)[0]
    path = ".".join(map(_step, first["loc"]))
    if first["type"] == "value_error":
        return str(first["ctx"]["error"]) if not path else f"{path}: {first['ctx']['error']}"
    if first["type"] == "extra_forbidden":
        near = get_close_matches(path, names)
        return f"{path}: unknown key" + (f"; did you mean {' or '.join(near)}?" if near else "")
    got = reprlib.repr(first["input"])
    message = _SAID.get(first["type"]) or first["msg"].replace("Input should", "should")
    return f"{path}: {message} (got {got})"


@contextmanager
def in_one_line(names: Iterable[str]) -> Iterator[None]:
    """Turn a ValidationError of pydantic inside into an `InputError`, by `one_line`.

    Raises:
        InputError: the first of the errors.
    """
    try:
        yield
    except ValidationError as error:
        raise InputError(one_line(error, names=names)) from None


def _step(part: int | str) -> str:
    """A field's name as it is; a key that could spoil the line came from a file, and is quoted."""
    text = str(part)
    return text if text.isprintable() and len(text) <= _LONGEST_NAME else reprlib.repr(text)
