"""Run sections one after the other in this process; `python -m bench.gpu_check` starts it.

Each finding is written as soon as it is there. A section over its time is cut between two findings;
an exception ends its section alone.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench.gpu_check.findings import Finding, Outcome, Setup
from bench.gpu_check.results import Results, one_line, section_text
from bench.gpu_check.sections import SECTIONS, allotted_s

__all__ = ["main", "run_section"]

_LEAST_S = 2.0
"""A section with less is not begun."""


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
                _leave_out(name, results)


def _leave_out(name: str, results: Results) -> None:
    outcome = Outcome(title=SECTIONS[name].title, state="not run", said="no time left")
    results.outcomes[name] = outcome
    results.save()
    print(section_text(name, outcome), flush=True)


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
