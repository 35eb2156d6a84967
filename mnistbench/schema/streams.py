"""Standard input, output and error as every command has them: there, and fit for any text.

`mend_streams` comes first in each command. From then on a letter that a stream's encoding lacks is
spelled in ASCII, and a standard error that nobody reads any more, or that is full, ends nothing.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from threading import Timer
from typing import Any

from mnistbench.schema.escaping import escaped

_SPELLED = "mnistbench.spelled"
_PLAIN = ("-", "-", "+-", "x", "...", "<=", ">=", "inf", "u", "->", "#", "##", "###")
_ASCII = dict(zip("–—±×…≤≥∞µ→†‡§", _PLAIN, strict=True))
"""Signs of tables and notes; a letter of a name is spelled by its number instead."""

PASSING = {"passing": True}
"""The `extra` of a log record on what is done now."""

_ERASE = "\r\x1b[K"
_PATIENCE_S = 1.0
_under_way: list[Callable[[], object]] = []
"""What ends the progress that is told now, if any is."""


def mend_streams() -> None:
    """Open what is closed on the null device, and have both outputs take whatever is written.

    A closed descriptor would be given to the next file that is opened, a checkpoint for one, and
    what a library prints would land in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is this one, and children are to have it, too
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    codecs.register_error(_SPELLED, _spelled)
    for stream in (sys.stdout, sys.stderr):
        if type(stream) is not io.TextIOWrapper:
            continue  # a notebook's, or a test's
        stream.reconfigure(errors=_SPELLED)
        with contextlib.suppress(OSError):  # it has no descriptor
            os.set_blocking(stream.fileno(), True)  # what shares it may have set it otherwise
            if stream is sys.stderr:
                lossy = io.BufferedWriter(_Lossy(stream.fileno(), "w", closefd=False))
                sys.stderr = io.TextIOWrapper(lossy, stream.encoding, _SPELLED, line_buffering=True)


class _Lossy(io.FileIO):
    """A descriptor on which what cannot be written is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or ascii(c)[1:-1] for c in text), error.end


def say(line: str) -> None:
    """Tell the user something on stderr, in one line, where it cannot mix with results.

    Of file names and of what files hold, nothing is obeyed by a terminal.
    """
    _end_progress()
    _write(f"mnistbench: {escaped(line)}\n")


def _write(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)  # noqa: T201


def progress(line: str, *, only_terminal: bool = False) -> None:
    """Tell on stderr what is done from now on, until something else is told or shown.

    On a terminal the next line takes its place. Elsewhere it is a line as of `say`, once it has
    lasted a second, or nothing where it is for `only_terminal`.
    """
    _end_progress()
    text = f"mnistbench: {escaped(line)}"
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        _write(text[: shutil.get_terminal_size().columns - 1])
        _under_way.append(partial(_write, _ERASE))
    elif not only_terminal:
        timer = Timer(_PATIENCE_S, _write, [f"{text}\n"])
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # no thread can be started: then nothing is told
            timer.start()
            _under_way.append(timer.cancel)


def _end_progress() -> None:
    while _under_way:
        _under_way.pop()()


def show(text: str) -> None:
    """Print a result on stdout, as `written` has it."""
    with written():
        print(text)  # noqa: T201


@contextlib.contextmanager
def written() -> Iterator[None]:
    """Results are written inside; a reader who has closed stdout, such as ``head``, is no error.

    Raises:
        SystemExit: stdout cannot be written, such as on a full disk, which is told: status 1.
    """
    _end_progress()
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        if error.filename is not None:  # it is another file's
            raise
        _drop_output()
        say(f"error: stdout cannot be written ({error.strerror})")
        raise SystemExit(1) from None


def _drop_output() -> None:
    """What the interpreter flushes at its end must have somewhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LineFormatter(logging.Formatter):
    """Log records of which nothing is obeyed by a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The message, in one line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback below it, whose lines are its own."""
        return "\n".join(map(escaped, super().formatException(ei).splitlines()))


class LineHandler(logging.StreamHandler[Any]):
    """Writes log records to stderr as `say` writes lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LineFormatter("mnistbench: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`; one with the `extra` of `PASSING` as `progress` does."""
        if hasattr(record, "passing"):
            return progress(record.getMessage())
        _end_progress()
        return super().emit(record)
