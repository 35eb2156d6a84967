"""A file of ``:::MLLOG`` lines, the form of MLPerf's logs."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Literal

__all__ = ["Interval", "Metadata", "MlLogWriter", "now_ms"]

_log = logging.getLogger(__name__)

Interval = Literal["init", "run", "block", "epoch", "eval"]
"""What MLPerf's logs have a start and a stop of."""

Metadata = Mapping[str, float | str]

_NOTHING: Metadata = {}


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


class MlLogWriter:
    """A log on the disk, each line as soon as it is known; times never go back.

    A file that cannot be written is given up, in one warning.

    Attributes:
        last_ms: time of the last line [milliseconds since 1970].
    """

    def __init__(self, folder: Path) -> None:
        """In `folder`: ``mllog.txt``, or the first of ``mllog-2.txt`` … that is not there."""
        self.last_ms = 0
        self._open: dict[Interval, Metadata] = {}
        self._file: FileIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = _new_file(folder)
        except OSError as error:
            self._give_up(error)

    def is_open(self, interval: Interval) -> bool:
        """Whether `interval` was started and not stopped."""
        return interval in self._open

    def start(
        self, interval: Interval, metadata: Metadata = _NOTHING, *, time_ms: int | None = None
    ) -> None:
        """Start `interval`, at `time_ms` or now, unless it is under way."""
        if interval not in self._open:
            self._open[interval] = metadata
            self._write("INTERVAL_START", f"{interval}_start", metadata=metadata, time_ms=time_ms)

    def stop(
        self, interval: Interval, metadata: Metadata = _NOTHING, *, time_ms: int | None = None
    ) -> None:
        """Stop `interval` if it is under way; `metadata` goes over what it was started with."""
        if (begun := self._open.pop(interval, None)) is not None:
            told = {**begun, **metadata}
            self._write("INTERVAL_END", f"{interval}_stop", metadata=told, time_ms=time_ms)

    def point(self, key: str, value: float | str, *, metadata: Metadata = _NOTHING) -> None:
        """Note the `value` of `key`."""
        self._write("POINT_IN_TIME", key, value=value, metadata=metadata)

    def close(self) -> None:
        """End the file; what comes after is not written."""
        if self._file:
            self._file.close()
        self._file = None

    def _write(
        self,
        event_type: str,
        key: str,
        *,
        metadata: Metadata,
        value: float | str | None = None,
        time_ms: int | None = None,
    ) -> None:
        if self._file is None:
            return
        self.last_ms = max(self.last_ms, now_ms() if time_ms is None else time_ms)
        teller = sys._getframe(2)  # noqa: SLF001 - who called the method that called this one
        file = teller.f_globals["__name__"].replace(".", "/") + ".py"
        event = {
            "namespace": "",
            "time_ms": self.last_ms,
            "event_type": event_type,
            "key": key,
            "value": value,
            "metadata": {"file": file, "lineno": teller.f_lineno, **metadata},
        }
        try:
            self._file.write(f":::MLLOG {json.dumps(event, allow_nan=False)}\n".encode())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.close()
        _log.warning(f"mllog: {error.strerror}; the run goes on without its event lines")


def _new_file(folder: Path) -> FileIO:
    names = itertools.chain(["mllog.txt"], (f"mllog-{life}.txt" for life in itertools.count(2)))
    path = next(folder / name for name in names if not (folder / name).exists())
    return FileIO(path, "x")  # without a buffer: a line is on its way, or is known not to be
