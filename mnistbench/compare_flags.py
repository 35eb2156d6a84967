"""The flags of `compare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mnistbench.analysis.comparison import default_metrics
from mnistbench.analysis.free_metrics import check_name, metric_named
from mnistbench.analysis.gates import Gate
from mnistbench.analysis.metrics import MetricName
from mnistbench.analysis.number_text import numbered
from mnistbench.flags import POSITIONAL, REPEATED, CommandFlags, Fraction
from mnistbench.output.comparison_table import ComparisonFormat
from mnistbench.schema.escaping import brief
from mnistbench.schema.record import RunRecord

_LONGEST_NAME = 40


class CompareFlags(CommandFlags):
    """Compare two or more sides with a baseline: stored runs, or runs made in turn."""

    prog: ClassVar = "mnistbench compare"
    groups: ClassVar = {
        "Sides": "paths",
        "Metrics and gates": "metrics",
        "Output": "format",
        "Runs in turn": "interleave",
    }
    notes: ClassVar = (
        "With --revisions, flags of `mnistbench train` follow a bare --; both sides run code of "
        "your own as it is in this folder. With --command, each side runs its checkout, without "
        "what git ignores: name data by paths outside of it. No shell reads commands."
    )

    paths: Annotated[tuple[Path, ...], POSITIONAL] = ()
    """Two or more sides: each a record.json, a folder of records, or a JSON file of
    pytest-benchmark. With --by, the records to split."""
    by: str | None = None
    """Key of the configuration or environment that splits the records, such as loss, optimizer,
    lr, num_processes, device or commit; each of its values is a side."""
    baseline: str | None = None
    """Name or path of the side that the others are compared with. Default: the first."""
    force: bool = False
    """Give verdicts even if hardware or data differ, or a side lacks some configurations."""
    strict: bool = False
    """Exit with status 2 if a record in a folder cannot be read; otherwise it is left out."""
    metrics: tuple[MetricName | str, ...] = ()
    """Metrics to compare; also any that the runs evaluated, by its name. Default: samples_per_s,
    time_to_accuracy_s (if a target is set), test_accuracy."""
    target_accuracy: Fraction | None = None
    """Accuracy to time the runs to [fraction]. Default: that of each run."""
    fail_if: Annotated[tuple[str, ...], REPEATED] = ()
    """Exit with status 1 if "samples_per_s < -5%" (a side against the baseline) or "test_accuracy <
    0.98" (a side alone) holds at a level of 5 %; with status 2 if there are too few runs to test
    it. It can be repeated."""
    unsettled: Literal["pass", "fail"] = "pass"
    """Result of a gate that is neither surely crossed nor surely kept; fail is status 1."""
    format: ComparisonFormat = "table"
    """Format of the result on stdout."""
    wide: bool = False
    """Show all columns of tables, however wide the terminal is."""
    interleave: bool = False
    """Run the sides, or .yaml configurations, in turn until the first metric is settled."""
    revisions: tuple[str, str] | None = None
    """Run two git revisions of this checkout in turn instead; . is the working tree."""
    commands: tuple[str, ...] = ()
    """Run two or more commands of your own in turn, each in quotes, such as "python train.py --seed
    {seed}". Each leaves a record by mnistbench.record."""
    command: str | None = None
    """What --revisions runs, in this folder of each checkout, in place of `mnistbench train`."""
    max_minutes: float | None = None
    """Time limit [minutes]. Default: 10."""
    min_effect: float | None = Field(None, gt=0, lt=1)
    """Smallest change that matters [fraction]; runs end as well once the change is surely
    smaller. Default: 0.02, for accuracies 0.002 (0.2 points)."""
    seed: int | None = Field(None, ge=0, lt=2**31)
    """Seed of the first run of each side; later ones count up from it. Default: 0."""
    fresh: bool = False
    """Have each run import PyTorch itself. Default: one process does so for all runs of a side."""
    output_dir: Path | None = None
    """New folder for these runs. Default: runs/compare/TIME."""

    @property
    def makes_runs(self) -> bool:
        """Whether sides are run, rather than read."""
        return self.interleave or bool(self.revisions or self.commands)

    def metrics_of(
        self, sides: Sequence[Sequence[RunRecord]], gates: Sequence[Gate]
    ) -> tuple[str, ...]:
        """What is compared of `sides`, with all that `gates` ask for.

        Raises:
            InputError: no run has one of them.
        """
        runs = [record for side in sides for record in side]
        self.check_metrics(gates, partial(metric_named, records=runs))
        names = self.metrics or default_metrics(*sides, target_accuracy=self.target_accuracy)
        return (*names, *(gate.metric for gate in gates))

    def check_metrics(
        self, gates: Sequence[Gate], check: Callable[..., object] = check_name
    ) -> None:
        """Have `check` look at each name that is asked for.

        Raises:
            InputError: as `check`.
        """
        for name in self.metrics:
            check(name)
        for gate in gates:
            check(gate.metric, field="fail_if")


def short_names(commands: Sequence[str]) -> list[str]:
    """Of each command the words in which it differs from the others: ``a.py``, ``--lr 0.1``."""
    words = [command.split() for command in commands]
    first = _num_shared(words)
    if first and all(its[first - 1].startswith("-") for its in words):
        first -= 1  # the flag of a value
    last = _num_shared([its[first:][::-1] for its in words])
    cut = [" ".join(its[first : len(its) - last]) or " ".join(its) for its in words]
    return numbered(brief(name, _LONGEST_NAME) for name in cut)


def _num_shared(words: Sequence[Sequence[str]]) -> int:
    """How many of the first words all have in common."""
    return len([*takewhile(lambda place: len({*place}) == 1, zip(*words, strict=False))])
