"""What a check finds, and what it is told: plain values, of the standard library alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["running", "done", "cut", "failed", "not run"]
"""How far a section came; `cut` is over its share of the time, `failed` an exception."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check: what was expected and what was found.

    `holds` is ``None`` where nothing was promised, or where it could not be tried: `found` says
    which. `values` are further columns of the section's table.
    """

    check: str
    expected: str
    found: str
    holds: bool | None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Where checks run and how large they are.

    Attributes:
        scratch: folder for what runs leave; nobody keeps it.
        device_type: what runs are expected to be on.
        data: the fields of a run that say which data long runs read.
        steps: of each run whose curve is compared.
        batch_size: samples in a step of the runs whose speed is measured.
        num_seeds: of each recipe.
        resumed_steps: of the runs that are interrupted, in the fast loop.
        num_threads: of each run on the CPU; none is its own choice.
    """

    scratch: Path
    device_type: str = "cuda"
    data: Mapping[str, Any] = field(default_factory=lambda: {"dataset": "synthetic"})
    steps: int = 200
    batch_size: int = 512
    num_seeds: int = 10
    resumed_steps: int = 20_000
    num_threads: int | None = None

    def thread_flags(self) -> list[str]:
        """The same for a command."""
        return [] if self.num_threads is None else ["--num-threads", str(self.num_threads)]


Check = Callable[[Setup], Iterator[Finding]]
"""A section: gives its findings one by one, so that it can be cut between two of them."""


@dataclass(kw_only=True)
class Outcome:
    """A section as far as it came; durations and times of day in seconds.

    `said` is the one line of why it did not come to its end.
    """

    title: str
    state: State = "running"
    said: str = ""
    began_at: float = 0.0
    share_s: float = 0.0
    elapsed_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.state != "running"

    @property
    def broken(self) -> list[Finding]:
        """What does not hold."""
        return [finding for finding in self.findings if finding.holds is False]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Outcome:
        findings = [Finding(**finding) for finding in values["findings"]]
        return cls(**{**values, "findings": findings})


def slug(name: str) -> str:
    """`name` as that of a folder, such as ``nvidia-h200``."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    return "-".join(filter(None, kept.split("-")))
