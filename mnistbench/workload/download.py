"""Fetching a published data set by torchvision's classes, so that it is there whole or not at all.

torchvision gives its connections no timeout and writes straight to where it reads from; here a
machine without a network is told so within seconds, and no file is seen before it is verified.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mnistbench.schema.errors import InputError
from mnistbench.workload.idx_files import RawSet, read_set

PROBE_S = 5.0
"""Time after which, with no answer from any mirror, a machine counts as offline [s]."""

_SOCKET_TIMEOUT_S = 20.0


class DownloadError(Exception):
    """Why a data set could not be had from the network: the end of a sentence, on one line."""


def download_set(
    raw: RawSet, data_dir: Path, *, torchvision_class: str, options: Mapping[str, str]
) -> None:
    """Download, verify, then move each file into place below `data_dir`.

    Any number of unrelated processes may do so at once: each downloads to a folder of its own, and
    a rename puts the same verified bytes where another has put them.

    Args:
        raw: the files to have at the end.
        data_dir: made if it is not there; nothing is written before a mirror has answered.
        torchvision_class: name of the data set class that knows the mirrors.
        options: what that class has to be told besides folder and split.

    Raises:
        DownloadError: no mirror answered, the download failed or is damaged, or the folder cannot
            be written; no file is left behind.
    """
    from torchvision import datasets  # takes a second, and most runs download nothing

    published = getattr(datasets, torchvision_class)
    _require_answer(_first_urls(published))
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".download-", dir=data_dir) as folder:
            with downloading():
                for train in (True, False):
                    published(folder, train=train, download=True, **options)
            _check(raw, Path(folder))
            for file in raw.files:
                target = data_dir / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / file.path).replace(target)
    except DownloadError:
        raise
    except Exception as error:  # whatever a server, proxy, archive or disk may come up with
        raise DownloadError(f"the download failed ({_one_line(error)})") from error


def _check(raw: RawSet, folder: Path) -> None:
    try:
        read_set(raw, folder)
    except InputError as error:
        # of its message only what is wrong: the folder goes, and the mend is for files that stay
        what = str(error).removeprefix(f"{folder}{os.sep}").partition(";")[0]
        raise DownloadError(f"what was downloaded is damaged ({what})") from error


@contextmanager
def downloading() -> Iterator[None]:
    """No connection that torchvision opens inside is waited for without end.

    Its words and bars stay off stdout, and off stderr where that is no terminal.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SOCKET_TIMEOUT_S)  # torchvision gives its connections none
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            stream = sys.stderr if sys.stderr.isatty() else nowhere
            with redirect_stdout(stream), redirect_stderr(stream):
                yield
    finally:
        socket.setdefaulttimeout(timeout)


def _first_urls(published: Any) -> list[str]:
    """A file on each place that `published`, a class of torchvision's, downloads from."""
    if hasattr(published, "url"):  # EMNIST
        return [published.url]
    if isinstance(published.resources, dict):  # QMNIST
        return [published.resources["train"][0][0]]
    return [mirror + published.resources[0][0] for mirror in published.mirrors]


def _require_answer(urls: Sequence[str]) -> None:
    """Ask all of `urls` at once and return at the first answer.

    In threads that may be left behind, because nothing else bounds a name server that is silent.

    Raises:
        DownloadError: each has failed, or `PROBE_S` seconds are over.
    """
    answers: SimpleQueue[str] = SimpleQueue()

    def ask(url: str) -> None:
        try:
            # a plain GET without reading on: torchvision's own, and some servers refuse HEAD
            request = Request(url, headers={"User-Agent": "pytorch/vision"})  # noqa: S310
            with urlopen(request, timeout=PROBE_S):  # noqa: S310  # torchvision's own addresses
                answers.put("")
        except (OSError, HTTPException, ValueError) as error:
            answers.put(_one_line(error))
            if isinstance(error, HTTPError):
                error.close()

    for url in urls:
        Thread(target=ask, args=(url,), daemon=True).start()
    deadline, reason = time.monotonic() + PROBE_S, "no answer"
    for _ in urls:
        try:
            reason = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            reason = f"no answer within {PROBE_S:g} s"
        if not reason:
            return
    raise DownloadError(f"no mirror can be reached ({reason})")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).removeprefix("<urlopen error ").removesuffix(">")
    text = text or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
