"""What stops a run from outside: input to mend, another process's end, or a signal."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterable

from pydantic import ValidationError

from mnistbench.schema.suggestions import did_you_mean, use_a_fraction

_LONGEST_NAME = 80
_NUMBER = re.compile(r"[+-]?[0-9.]{1,20}(e[+-]?[0-9]{1,3})?", re.IGNORECASE)
_SAID = {
    "dict_type": "should be a mapping, such as {width: 32}",
    "string_type": "should be a valid string; put it in quotes",
    "string_unicode": "should be a text in UTF-8",
    "tuple_type": "should be a list, such as [a, b]",
}
"""What some of pydantic's errors are called instead."""


class InputError(ValueError):
    """Bad usage or bad input: one line that says what, where and the mend.

    Commands print it as ``mnistbench: error: …`` and exit with status 2, without a traceback.
    """


class SaidElsewhereError(InputError):
    """An `InputError` that the main process of the run raises and tells as well."""


class RunError(RuntimeError):
    """Why a run that had begun cannot go on, in one line.

    The command prints it, without a traceback, and exits with status 1.
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
    """The first of pydantic's errors as ``field: what (got value)``, with what may be meant.

    An unknown key may be meant to be one of `names`.
    """
    first = error.errors(include_url=False)[0]
    path = ".".join(map(_step, first["loc"]))
    if first["type"] == "value_error":
        return str(first["ctx"]["error"]) if not path else f"{path}: {first['ctx']['error']}"
    if first["type"] == "extra_forbidden":
        return f"{path}: unknown key{did_you_mean(first['loc'][-1], names)}"
    got, limits = first["input"], first.get("ctx", {})
    message = first["msg"].partition(", unable to")[0]
    for said in ("Input should", "String should"):
        message = message.replace(said, "should")
    choices = re.findall(r"'([^']+)'", limits.get("expected", ""))
    if near := did_you_mean(got, choices):
        return f"{path}: unknown name {_shown(got)}{near}"
    is_whole = first["type"].startswith("int_")
    highest = limits.get("le", limits.get("lt", math.inf))
    meant = "" if is_whole else use_a_fraction(got, highest)
    return f"{path}: {_SAID.get(first['type'], message)} (got {_shown(got)}){meant}"


def _shown(value: object) -> str:
    """`value`, of which a number that came as text, such as a flag's, has no quotes."""
    is_number = isinstance(value, str) and _NUMBER.fullmatch(value)
    return str(value) if is_number else reprlib.repr(value)


def _step(part: int | str) -> str:
    """A field's name as it is; a key that could spoil the line came from a file, and is quoted."""
    text = str(part)
    return text if text.isprintable() and len(text) <= _LONGEST_NAME else reprlib.repr(text)
