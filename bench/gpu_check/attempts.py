"""One check of several: its exception is its finding, and the next is tried all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from bench.gpu_check.findings import Finding
from bench.gpu_check.results import one_line

__all__ = ["attempted"]

_log = logging.getLogger(__name__)


def attempted(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of `check`; an exception is one that does not hold, its traceback is logged."""
    try:
        yield from check()
    except Exception as error:
        _log.exception(name)
        yield Finding(check=name, expected="no exception", found=one_line(error), holds=False)
