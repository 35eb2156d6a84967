"""Runs the sections in a process that may crash or hang: another one then does the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from bench.gpu_check.findings import Outcome
from bench.gpu_check.packages import missing_for
from bench.gpu_check.results import Results, section_text
from bench.gpu_check.sections import SECTIONS

__all__ = ["leave_out", "supervise"]

_GRACE_S = 45.0
"""What a section may take beyond its share: its last check has to end by itself."""

_LOOK_EVERY_S = 0.3


def supervise(results: Results, names: Sequence[str], *, dataset: str, end_at: float) -> Results:
    """Run the sections `names` until the time of day `end_at` [seconds]; gives all results."""
    left = [name for name in names if not leave_out(name, results)]
    results.save()
    while left:
        before = len(left)
        _run_child(results, left, dataset=dataset, end_at=end_at)
        results = Results.load(results.folder)
        left = [name for name in left if not _is_over(results, name)]
        if len(left) == before:  # it did not even begin
            _give_up(results, left, why="its process ended at once; see log.txt")
            left = []
    return results


def _is_over(results: Results, name: str) -> bool:
    return name in results.outcomes and results.outcomes[name].is_over


def leave_out(name: str, results: Results) -> bool:
    """Whether what `name` needs is missing, which is then said in its place."""
    missing = missing_for(name)
    if missing:
        _give_up(results, [name], why=f"needs {', '.join(missing)}")
    return bool(missing)


def _give_up(results: Results, names: Sequence[str], *, why: str) -> None:
    for name in names:
        outcome = Outcome(title=SECTIONS[name].title, state="not run", said=why)
        results.outcomes[name] = outcome
        print(section_text(name, outcome), flush=True)
    results.save()


def _run_child(results: Results, names: Sequence[str], *, dataset: str, end_at: float) -> None:
    """One process for all of `names`; where it crashes or hangs, its section is said to have."""
    command = _command([str(results.folder), str(end_at), dataset, *names])
    with (results.folder / "log.txt").open("a", encoding="utf-8") as log:
        child = subprocess.Popen(command, stderr=log, start_new_session=True)  # noqa: S603
        try:
            hung = _wait(child, results)
        finally:
            _end(child)
    found = Results.load(results.folder)
    running = [name for name, outcome in found.outcomes.items() if not outcome.is_over]
    for name in running:
        outcome = found.outcomes[name]
        outcome.state = "cut" if hung else "failed"
        outcome.said = _how_it_ended(child.returncode, hung=hung)
        outcome.elapsed_s = time.time() - outcome.began_at
        print(section_text(name, outcome), flush=True)
    found.save()


def _command(told: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "bench.gpu_check.run_sections", *told]


def _wait(child: subprocess.Popen[bytes], results: Results) -> bool:
    """Wait for its end; whether it had to be given up, far over the time of a section."""
    while child.poll() is None:
        time.sleep(_LOOK_EVERY_S)
        with suppress(OSError, ValueError):
            for outcome in Results.load(results.folder).outcomes.values():
                over_s = time.time() - outcome.began_at - outcome.share_s
                if not outcome.is_over and over_s > _GRACE_S:
                    return True
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    """End it and all that it has started, which are a group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(5)


def _how_it_ended(status: int, *, hung: bool) -> str:
    if hung:
        return f"did not come back {_GRACE_S:.0f} s after its time; its process was ended"
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"its process ended with {how} (see log.txt)"
