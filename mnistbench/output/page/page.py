"""A page of records: its sections, and their HTML."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mnistbench.analysis.number_text import numbered
from mnistbench.output.charts.figure import drawn
from mnistbench.output.charts.svg import svg_text
from mnistbench.output.page import diagnostics_sections as diagnostics
from mnistbench.output.page import measurement_sections as measured
from mnistbench.output.page import provenance_sections as provenance
from mnistbench.output.page.headline import answers, facts, title
from mnistbench.output.page.parts import Section
from mnistbench.output.page.report_data import ReportOptions, Subject
from mnistbench.schema.errors import InputError
from mnistbench.schema.escaping import printable
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord

_SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    measured.summary_section,
    measured.time_section,
    measured.curve_section,
    measured.ledger_section,
    measured.throughput_section,
    measured.scaling_section,
    diagnostics.step_section,
    diagnostics.profile_section,
    provenance.care_section,
    provenance.rerun_section,
    provenance.environment_section,
    diagnostics.telemetry_section,
)
_OF_ALL = {measured.scaling_section, provenance.care_section, provenance.environment_section}
"""Sections without a line for each row."""

MOST_SHOWN = 500
"""Rows of a page: more would take a browser long, and nobody reads on."""


def render_page(
    records: Sequence[RunRecord], options: ReportOptions | None = None, *, made_at: str = ""
) -> str:
    """`records` as one HTML page, which loads nothing and runs its own script alone.

    Args:
        records: at least one.
        options: targets, references and recipes.
        made_at: when and by what it was made; all else is the same each time.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    subject = Subject(records=records, options=options or ReportOptions())
    environment = Environment(
        loader=PackageLoader("mnistbench.output.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda picture: Markup(svg_text(picture))  # noqa: S704 - escaped
    style, script = (environment.get_template(name).render() for name in ("page.css", "page.js"))
    return environment.get_template("page.html.jinja").render(
        title=title(subject),
        answers=answers(subject),
        rows=len(subject.rows),
        most=MOST_SHOWN,
        facts=facts(subject),
        sections=_sections(subject),
        made_at=made_at,
        style_hash=_sha256(style),
        script_hash=_sha256(script),
    )


def save_pictures(
    records: Sequence[RunRecord], folder: Path, options: ReportOptions | None = None
) -> list[Path]:
    """Every picture of the page as PNG and SVG at a column's width into `folder`, which is made.

    Raises:
        InputError: there is nothing to draw, or the folder cannot be written.
    """
    subject = Subject(records=records, options=options or ReportOptions())
    pictures = [picture for section in _sections(subject) for picture in section.pictures]
    if not pictures:
        raise InputError(f"{folder}: no run has anything to draw")
    written = []
    names = numbered(
        picture.name for picture in pictures
    )  # two metrics may differ in a slash alone
    for picture, name in zip(pictures, names, strict=True):
        for kind in ("png", "svg"):
            path = folder / f"{name.replace(' #', '-')}.{kind}"
            write_whole(path, drawn(picture, kind), named=True)
            written.append(path)
    return written


def _sections(subject: Subject) -> list[Section]:
    """All that have something to show: most of them of the best rows, where these are too many."""
    best = subject.best(MOST_SHOWN)
    found = (make(subject if make in _OF_ALL else best) for make in _SECTIONS)
    return [section for section in found if section is not None]


def _sha256(text: str) -> str:
    """The hash of `text`, as a security policy has it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _shown(value: Any) -> Any:
    """Text without control characters; what is markup by the template's own hand stays so."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return printable(value)
