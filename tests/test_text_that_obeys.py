"""Free text of a record, in every format that it is printed in: shown, and obeyed by nothing."""

import csv
import html
import io
import json
import re
from html.parser import HTMLParser
from unicodedata import normalize

import pytest
from markdown_it import MarkdownIt

from mnistbench.analysis.grouping import identify
from mnistbench.output.page.page import render_page
from mnistbench.output.profile_table import render_profile
from mnistbench.output.tables import data_text, render_runs, render_table, run_lines
from mnistbench.schema.escaping import csv_cell, escaped, markdown, printable
from mnistbench.schema.insight import Profile
from mnistbench.schema.record import RecipeInfo
from tests.made_records import make_record

HOSTILE = {
    "terminal": "\x1b]0;owned\x07\x1b[31m\x9b2J\b\x7f",
    "lines": "a\r\nmnistbench: error: b\tc\x85d\u2028e\x0bf",
    "unseen": "\u202edetrever\u2066\u200b\ufeff\U000e0041",
    "half": "a\ud800b",
    "html": "</td></script><img src=x onerror=alert(1)>&lt;\"'",
    "markdown": "a|b `c` [d](javascript:e) ![f](g) *h* _i_ ~j~ \\| <l@m.n> http://o.p www.q.r",
    "block": "# a",
    "list": "- a",
    "rule": "---",
    "underline": "=====",
    "math": "$\\frac{$ $$a$$ \\x $",
    "formula": "=HYPERLINK(1)",
    "formulas": "+1-1",
    "minus": "-1+1",
    "at": "@SUM(1)",
    "tab": "\t=1+1",
    "wide": "\uff1d1+1",
    "long": "x" * 100_000,
}
FORMULAS = ("formula", "formulas", "minus", "at", "tab", "wide")


def hostile_record(text, **changes):
    plain = make_record()
    changed = RecipeInfo(name="simple-cnn", source=text, changed=[text])
    places = {
        "device_type": "cuda",
        "device_name": text,
        "cpu_name": text,
        "mixed_precision": text,
        "torch": text,
    }
    return make_record(
        environment=plain.environment | places, recipe=changed, error=text, **changes
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_terminal_shows_it_in_its_line(text):
    record, plain = hostile_record(text), hostile_record("plain")
    told = render_runs([record], table_format="table")
    assert len(told.splitlines()) == len(render_runs([plain], table_format="table").splitlines())
    kernel = make_record().config | {"kernel": text}
    lines = [
        line
        for part in run_lines([plain, hostile_record(text, config=kernel)], 40)
        for line in part
    ]
    assert all(line.isprintable() for line in (*told.split("\n"), *lines))
    assert max(map(len, told.splitlines()[:3])) < 1000
    assert escaped(text).isprintable()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_markdown_shows_it_as_it_is(text):
    seen = printable(text)
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    told = render_table([{"a": "b", "c": text}], "markdown")
    for source, kept in ((told, seen[:299]), (markdown(text), seen)):
        tokens = reader.parse(source)
        inside = [token for one in tokens for token in one.children or ()]
        assert {token.type for token in inside} <= {"text", "text_special"}
        assert not {"heading_open", "bullet_list_open", "hr", "fence"} & {t.type for t in tokens}
        told_text = "".join(token.content for token in inside)
        assert " ".join(kept.split()) in " ".join(told_text.split())
    assert "\\://" in markdown("http://a")  # an address that GitHub would make a link of
    assert "www\\." in markdown("www.a")
    whole = render_runs([hostile_record(text)], table_format="markdown")
    assert all(line.isprintable() for line in whole.split("\n"))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_spreadsheet_takes_it_for_text(text):
    told = render_runs([hostile_record(text)], table_format="csv")
    (row,) = csv.DictReader(io.StringIO(told))
    for cell in (*row, *row.values()):
        assert cell.isprintable()
        assert not normalize("NFKC", cell.strip()[:1]).startswith(tuple("=+-@"))
    assert printable(text) in row["device"]


def test_only_what_begins_as_a_formula_has_an_apostrophe():
    marked = {name for name, text in HOSTILE.items() if csv_cell(text).startswith("'")}
    assert marked == {*FORMULAS, "list", "rule", "underline"}
    assert data_text([{"a": -0.5, "-b": "-0.5", "c": "a-b"}], "csv") == "a,'-b,c\n-0.5,'-0.5,a-b"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_json_is_strict_and_gives_it_back(text):
    record = hostile_record(text)
    told = render_runs([record], table_format="json")
    assert told.isascii()
    assert json.loads(told)[0]["device"] == identify([record])["device"]


class Tags(HTMLParser):
    """The elements of a page, each with the names of its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, [name for name, _ in attrs]))


@pytest.mark.slow
def test_a_page_of_it_and_its_pictures_have_the_elements_of_any_page():
    mixed = "".join(text for name, text in HOSTILE.items() if name != "long")
    pages = [
        render_page([
            hostile_record(text, config=make_record().config | {"kernel": kernel})
            for kernel in kernels
        ])
        for text, kernels in ((mixed, (HOSTILE["math"], HOSTILE["html"])), ("plain", ("a", "b")))
    ]  # fmt: skip
    tags, plain = (Tags(page).found for page in pages)
    assert tags == plain
    drawn = map(html.unescape, re.findall("<text [^>]*>(.*?)</text>", pages[0]))
    assert any("kernel $\\frac{$ $$a$$ \\x $" in text for text in drawn)


def test_what_was_profiled_is_told_in_the_format_of_the_rest(make_record):
    profile = Profile(kinds=["torch"], hooks=["<b>|\x1b"], files=["a|b"])
    record = make_record(profile=profile)
    assert "&lt;b&gt;\\| " in render_profile(record, "markdown")
    assert "\x1b" not in render_profile(record)
