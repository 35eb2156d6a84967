"""Does `compare --commands` find 5 % more work in a foreign script's steps, and else nothing?

``python -m bench.planted_slowdown [--repetitions N] [--max-minutes M] [--output DIR]`` has a script
without torch, of half a second of steps, compared with itself and with one whose steps do more,
again and again: 40 comparisons of half a minute at most.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

from bench.publishing import publish
from mnistbench import compare
from mnistbench.output.tables import render_table

_PLANTED = (0, 5)
_KEPT = ("metric", "change", "low", "high", "p", "verdict", "reason")
_SCRIPT = """
import hashlib, sys
from mnistbench import record

block = bytes(10_000)
with record("hashes", config={"more_percent": int(sys.argv[1])}) as run:
    for _ in run.steps(range(250), num_samples=1):
        for _ in range(2 * (100 + int(sys.argv[1]))):
            hashlib.sha256(block)
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--max-minutes", type=float, default=0.5, help="of a comparison")
    parser.add_argument("--output", type=Path, help="folder for planted.md and planted.json")
    asked = parser.parse_args(argv)
    found: dict[int, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(asked.repetitions):
            for percent in _PLANTED:
                into = Path(folder) / f"{percent}-{repetition}"
                row = _speed_row(into, percent, asked.max_minutes)
                found.setdefault(percent, []).append(row)
    text = render_table([_row(percent, rows) for percent, rows in found.items()], "markdown")
    publish(f"# A slowdown planted in a script\n\n{text}", asked.output, "planted", data=found)
    return 0


def _speed_row(folder: Path, percent: int, max_minutes: float) -> dict[str, Any]:
    """What `compare` says of samples/s of the script against one that does `percent` % more."""
    folder.mkdir()
    script = folder / "train.py"
    script.write_text(_SCRIPT)
    command = shlex.join([sys.executable, str(script)])
    sides = ["--commands", f"{command} 0", f"{command} {percent}"]
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        status = compare.main(
            [
                *sides,
                *("--metrics", "samples_per_s", "--format", "json"),
                *("--output-dir", str(folder / "runs"), "--max-minutes", str(max_minutes)),
            ]
        )
    if status:
        raise SystemExit(f"compare ended with status {status} in {folder}")
    row = json.loads(out.getvalue())["rows"][0]
    # not the commands, which name folders of this machine
    return {name: row[name] for name in _KEPT} | {"pairs": row["a"]["n"]}


def _row(percent: int, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    verdicts = Counter(row["verdict"] for row in rows)
    pairs = sorted(row["pairs"] for row in rows)
    return {
        "more work in a step": f"{percent} %",
        "comparisons": str(len(rows)),
        "verdicts": ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common()),
        "samples/s, median change": f"{100 * median(row['change'] for row in rows):+.1f} %",
        "pairs": f"{pairs[0]}–{pairs[-1]}, median {median(pairs):g}",
    }


if __name__ == "__main__":
    raise SystemExit(main())
