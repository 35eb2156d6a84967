"""How much memory a run takes at most, in a process of its own that starts from nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from mnistbench.cli import config_yaml
from mnistbench.schema.config import RunConfig

_EVERY_S = 0.005


class Peak(NamedTuple):
    """The most memory that a process was seen to hold [bytes], read every 5 ms.

    Attributes:
        own_bytes: what only it can give back: all but pages of files.
        resident_bytes: with the pages of libraries and mapped files that were in memory just then;
            the kernel may take those back at any time.
    """

    own_bytes: int
    resident_bytes: int


def peak_memory(config: RunConfig) -> Peak:
    """Train `config` by ``python -m mnistbench.train`` and watch its memory.

    ``getrusage`` would not do: a child begins with the peak of the process that started it.

    Raises:
        RuntimeError: the run failed.
    """
    file = Path(config.output_dir) / "config.yaml"
    file.write_text(config_yaml(config), encoding="utf-8")
    command = [sys.executable, "-m", "mnistbench.train", "--config", str(file), "--quiet"]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT) as child:  # noqa: S603
            try:
                peak = _watch(child)
            finally:
                child.kill()
        if child.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode(errors="replace").strip())
    return peak


def _watch(child: subprocess.Popen[bytes]) -> Peak:
    """The peak of `child`, once it has ended."""
    process, peak = psutil.Process(child.pid), Peak(0, 0)
    while child.poll() is None:
        with suppress(psutil.Error):  # it ends while it is looked at
            memory = process.memory_info()
            own = memory.rss - getattr(memory, "shared", 0)  # told on Linux only
            peak = Peak(max(peak.own_bytes, own), max(peak.resident_bytes, memory.rss))
        time.sleep(_EVERY_S)
    return peak
