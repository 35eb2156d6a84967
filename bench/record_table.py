"""The history of the speed records as a page: every attempt, claimed or not, by date."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.record_entry import FOLDER, RecordEntry, find_entries
from bench.speed_record import SIGNIFICANCE
from bench.suite_format import interval_text
from mnistbench.analysis.machine_drift import DRIFT_BOUND
from mnistbench.analysis.number_text import NOT_MEASURED, goal
from mnistbench.output.tables import render_table
from mnistbench.schema.files import write_whole

_HEAD = f"""\
# Speed records

A row is one attempt: a recipe with a fixed number of steps, searched on `val` alone, run once with
each of n fresh seeds. It is claimed if the mean test accuracy is at or over the target at one-sided
p < {SIGNIFICANCE:g} (Student's t) and no run read the test set before its end. Attempts that could
not be claimed stay in the table.

`python -m bench.claim_record --render` writes this page from the `entry.json` files below it.
"""

_NOTES = """\
*warm*: seconds that training and all evaluation take, in one process, after the step was compiled
and warmed up on blank data; median over the n seeds (95 % interval). *cold*: seconds from the start
of a fresh process to its result, importing and compiling included, with the compiler's cache as
earlier runs left it; median over the first seeds once more. *test acc*: mean over the n seeds (and
their standard deviation). \\* the recipe's own settings were changed, as its folder tells.
*commit*: + where there were changes on top of it.
"""

_UNSTABLE = f"""
† the machine's own speed moved by more than {100 * DRIFT_BOUND:g} % during some of these runs.
"""

_REPLAY = """
## Run two rows again, in turn

A row's folder has the record of its first seed in full. From two of them `compare` runs both again,
by the code that is checked out, pair by pair with the seeds 0, 1, 2 and so on, until it is settled
which is faster:

    mnistbench compare bench/records/DEVICE/ROW-A bench/records/DEVICE/ROW-B --interleave \\
        --metrics train_eval_s test_accuracy --max-minutes 30

Rows that differ in batch size, target or training images, as another recipe may, get a verdict with
`--force` only. One recipe at the commits of two rows:
`mnistbench compare --revisions COMMIT-A COMMIT-B --metrics train_eval_s -- --recipe NAME`.

## Add a row

    python -m bench.search_speedrun --recipe NAME --try lr=0.03,0.045 --try max_steps=160,175
    python -m bench.claim_record --recipe NAME --target 0.99 --what-changed "..."
"""


def render_history(entries: Mapping[str, RecordEntry]) -> str:
    """The page of `entries` (folder -> entry), in their order."""
    rows = [_row(folder, entry) for folder, entry in entries.items()]
    table = render_table(rows, "markdown") if rows else "No attempt is on record yet."
    unstable = _UNSTABLE if any(entry.unstable_runs for entry in entries.values()) else ""
    return "\n".join([_HEAD, table, "", _NOTES + unstable + _REPLAY])


def write_history(root: Path = FOLDER) -> Path:
    """Write the page of all attempts below `root` to its ``README.md``.

    Raises:
        InputError: an entry cannot be read, or the page not written.
    """
    path = root / "README.md"
    write_whole(path, render_history(find_entries(root)))
    return path


def _row(folder: str, entry: RecordEntry) -> dict[str, str]:
    claim = entry.claim()
    mark = "†" if entry.unstable_runs else ""
    cold = [run.wall_s for run in entry.cold_runs]
    return {
        "date": entry.created_at[:10],
        "device": _device(entry),
        "recipe": entry.recipe.name + "*" * bool(entry.recipe.changed),
        "what changed": entry.what_changed,
        "target": f"{goal(entry.target)} on {entry.dataset.name}",
        "warm s": interval_text([run.time_s for run in entry.runs], _seconds) + mark,
        "cold s": interval_text(cold, _seconds) + f", n = {len(cold)}",
        "n": str(claim.n),
        "test acc %": _accuracy(claim.mean_accuracy, claim.sd_accuracy),
        "p": NOT_MEASURED if claim.p_value is None else f"{claim.p_value:.2g}",
        "verdict": "claimed" if claim.claimed else f"not claimed: {claim.reason}",
        "steps": f"{entry.num_steps:,}",
        "commit": (entry.git_commit or "unknown")[:7] + "+" * bool(entry.git_dirty),
        "folder": folder,
    }


def _device(entry: RecordEntry) -> str:
    if entry.device_type != "cpu":
        return entry.device_name
    return f"{entry.device_name}, {entry.num_threads} thread" + "s" * (entry.num_threads > 1)


def _accuracy(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return NOT_MEASURED
    return f"{100 * mean:.3f}" + ("" if sd is None else f" (sd {100 * sd:.3f})")


def _seconds(value: float) -> str:
    return f"{value:.3g}"
