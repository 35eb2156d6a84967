"""Results as files, written after each finding: `results.json`, and a table for each section."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gpu_check.findings import Finding, Outcome

_log = logging.getLogger(__name__)

_VERDICTS = {True: "holds", False: "**does not hold**", None: "–"}
_LONGEST_CELL = 300


@dataclass(kw_only=True)
class Results:
    """All that was found on one machine; `facts` are of it, `remarks` of what is missing there."""

    folder: Path
    facts: Mapping[str, Any]
    remarks: Sequence[str] = ()
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Results:
        values = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        outcomes = {k: Outcome.from_json(v) for k, v in values["sections"].items()}
        return cls(
            folder=folder, facts=values["facts"], remarks=values["remarks"], outcomes=outcomes
        )

    def save(self) -> None:
        """Write the figures, each section's table, and a page with all of them."""
        values = {
            "facts": self.facts,
            "remarks": list(self.remarks),
            "sections": {name: outcome.to_json() for name, outcome in self.outcomes.items()},
        }
        _write(self.folder / "results.json", json.dumps(values, indent=1, default=str) + "\n")
        texts = {name: section_text(name, one) for name, one in self.outcomes.items()}
        for name, text in texts.items():
            _write(self.folder / f"{name}.md", text)
        page = [self._head(), *texts.values(), f"{summary(self)}\n"]
        _write(self.folder / "results.md", "\n".join(page))

    def _head(self) -> str:
        told = [f"- {name}: {value}" for name, value in self.facts.items()]
        lines = ["# GPU check\n", *told, *(f"- {remark}" for remark in self.remarks)]
        return "\n".join(lines) + "\n"


def section_text(name: str, outcome: Outcome) -> str:
    """A section as Markdown: title, how it ended, table."""
    parts = [f"## {outcome.title}\n"]
    took = f"`{name}`: {outcome.elapsed_s:.0f} s of the {outcome.share_s:.0f} s that it had"
    parts.append(f"{took}; {outcome.state}{': ' if outcome.said else ''}{outcome.said}\n")
    if outcome.findings:
        parts.append(markdown_table([_row(finding) for finding in outcome.findings]) + "\n")
    return "\n".join(parts)


def _row(finding: Finding) -> dict[str, str]:
    told = {"check": finding.check, "expected": finding.expected, "found": finding.found}
    more = {name: _text(value) for name, value in finding.values.items()}
    return told | more | {"verdict": _VERDICTS[finding.holds]}


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """`rows` (column -> text) as Markdown; a column that a row lacks is a dash there."""
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "verdict"))
    columns += ["verdict"] * any("verdict" in row for row in rows)
    lines = [[row.get(name, "–") for name in columns] for row in rows]
    text = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in text)


def summary(results: Results) -> str:
    """One line: how much holds, does not, was not tried, and what came to no end."""
    found = [finding for one in results.outcomes.values() for finding in one.findings]
    counts = {verdict: sum(f.holds is verdict for f in found) for verdict in (True, False, None)}
    ends = [f"{name} {one.state}" for name, one in results.outcomes.items() if one.state != "done"]
    text = (
        f"{counts[True]} hold, {counts[False]} do not, {counts[None]} without a verdict"
        f"{'; ' if ends else ''}{', '.join(ends)}"
    )
    return f"{text}."


def exit_status(results: Results) -> int:
    """0 where all sections came to their end and all holds, else 1."""
    whole = all(one.state == "done" and not one.broken for one in results.outcomes.values())
    return 0 if whole and results.outcomes else 1


def one_line(error: BaseException) -> str:
    """An exception in one line."""
    first = next(filter(None, map(str.strip, str(error).splitlines())), "")
    return f"{type(error).__name__}: {first}"[:_LONGEST_CELL].rstrip(": ")


def attempted(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of `check`; an exception is one that does not hold, its traceback is logged."""
    try:
        yield from check()
    except Exception as error:
        _log.exception(name)
        yield Finding(check=name, expected="no exception", found=one_line(error), holds=False)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _cell(text: str) -> str:
    flat = " ".join(text.replace("|", "/").split())
    return flat if len(flat) <= _LONGEST_CELL else f"{flat[:_LONGEST_CELL]}…"


def _write(path: Path, text: str) -> None:
    """All of it or nothing: whoever is killed here leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_text(text, encoding="utf-8")
    os.replace(half, path)  # noqa: PTH105 - as a pair with the line above
