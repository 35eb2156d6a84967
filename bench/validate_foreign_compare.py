"""Does `compare --commands` find a slowdown that was planted in a script, and only where it was?

A script of a user's own, without torch, counts in each step; that of B counts 5 % further, or as
far. Each repetition is a whole comparison, with runs added until it is settled.

    python -m bench.validate_foreign_compare                # about 40 minutes on two quiet cores
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from mnistbench.analysis.rows import Row
from mnistbench.compare_flags import CompareFlags
from mnistbench.compare_in_turn import run_in_turn
from mnistbench.output.tables import render_table

RESULTS = Path(__file__).parent / "results" / "compare" / "foreign.md"
SCRIPT = """
import sys
import mnistbench

with mnistbench.record("count", config={"count": int(sys.argv[1])}) as run:
    for _ in run.steps([None] * int(sys.argv[2]), num_samples=1):
        for _ in range(int(sys.argv[1])):
            pass
"""
COUNT = 100_000
"""What a step counts to: some 2 ms."""
PLANTED = (0.0, 0.05)
VERDICTS = ("slower", "faster", "no difference seen", "no verdict")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--max-minutes", type=float, default=3.0)
    arguments = parser.parse_args()
    rows = [
        summary(planted, [found(planted, arguments) for _ in range(arguments.repetitions)])
        for planted in PLANTED
    ]
    text = (
        "`python -m bench.validate_foreign_compare`: comparisons by `compare --commands` of a "
        f"script without torch, {arguments.steps} steps of some 2 ms a run, at most "
        f"{arguments.max_minutes:g} minutes each.\n\n"
    )
    RESULTS.write_text(text + render_table(rows, "markdown") + "\n")
    print(text + render_table(rows, "table"))


def found(planted: float, arguments: argparse.Namespace) -> Row:
    """The row on speed of one comparison."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "count.py"
        script.write_text(SCRIPT)
        counts = (COUNT, round(COUNT * (1 + planted)))
        flags = CompareFlags(
            commands=tuple(f"{sys.executable} {script} {x} {arguments.steps}" for x in counts),
            metrics=("samples_per_s",),
            max_minutes=arguments.max_minutes,
            output_dir=Path(folder) / "runs",
        )
        return run_in_turn(flags, (), []).rows[0]


def summary(planted: float, found: Sequence[Row]) -> dict[str, str]:
    counts = Counter(row.verdict for row in found)
    sizes = sorted(row.sample.n for row in found if row.sample)
    change = median(row.change.estimate for row in found if row.change)
    return {
        "planted": f"{100 * planted:g} %",
        "comparisons": str(len(found)),
        **{verdict: str(counts[verdict]) for verdict in VERDICTS},
        "pairs": f"{sizes[0]}–{sizes[-1]}, median {sizes[len(sizes) // 2]}",
        "samples/s, median change": f"{100 * change:+.1f} %",
    }


if __name__ == "__main__":
    main()
