"""Runs the sections in a process that may crash or hang: another one then does the rest.

Each finding is written as soon as it is there. A section over its time is cut between two findings;
an exception ends its section alone.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from bench.gpu_check.findings import Finding, Outcome, Setup
from bench.gpu_check.packages import missing_for
from bench.gpu_check.results import Results, one_line, section_text
from bench.gpu_check.sections import SECTIONS, allotted_s

_GRACE_S = 45.0
"""What a section may take beyond its share: its last check has to end by itself."""

_LOOK_EVERY_S = 0.3
_LEAST_S = 2.0
"""A section with less is not begun."""


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
    return [sys.executable, "-m", "bench.gpu_check.supervising", *told]


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


def main() -> None:
    """``OUT END_AT DATASET NAMES...``: the folder with its results, the end [seconds of day]."""
    folder, end_at, dataset, *names = sys.argv[1:]
    logging.basicConfig(format="mnistbench: %(message)s", level=logging.WARNING, force=True)
    results = Results.load(Path(folder))
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        setup = Setup(scratch=Path(scratch), data={"dataset": dataset})
        for index, name in enumerate(names):
            left_s = float(end_at) - time.time()
            share_s = allotted_s(name, left=names[index:], left_s=left_s)
            if share_s >= _LEAST_S:
                run_section(name, setup, results=results, share_s=share_s)
            else:
                _give_up(results, [name], why="no time left")


def run_section(name: str, setup: Setup, *, results: Results, share_s: float) -> None:
    """Run one section in at most `share_s` seconds, and keep what it finds in `results`."""
    section = SECTIONS[name]
    outcome = Outcome(title=section.title, began_at=time.time(), share_s=share_s)
    results.outcomes[name] = outcome
    results.save()
    try:
        _collect(section.check(setup), outcome, results)
    except Exception as error:
        outcome.state = "failed"
        outcome.said = f"{one_line(error)} (traceback in {name}-traceback.txt)"
        trace = results.folder / f"{name}-traceback.txt"
        trace.write_text(traceback.format_exc(), encoding="utf-8")
    outcome.elapsed_s = time.time() - outcome.began_at
    results.save()
    print(section_text(name, outcome), flush=True)


def _collect(findings: Iterator[Finding], outcome: Outcome, results: Results) -> None:
    """Take findings until there are no more or the time is over; of one check, the last."""
    with closing(findings):  # type: ignore[type-var]
        for finding in findings:
            others = [one for one in outcome.findings if one.check != finding.check]
            outcome.findings = [*others, finding]
            outcome.elapsed_s = time.time() - outcome.began_at
            results.save()
            if outcome.elapsed_s > outcome.share_s:
                outcome.state, outcome.said = "cut", "over its time; --minutes gives more"
                return
    outcome.state = "done"


if __name__ == "__main__":
    main()
