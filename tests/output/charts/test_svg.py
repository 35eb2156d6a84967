"""SVG text of pictures: what a page and its script rely on, whatever rows are called."""

import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from mnistbench.output.charts.layout import SMALL, laid_out, text_width
from mnistbench.output.charts.picture import Dot, Key, Line, Panel, Picture, axis_over, rows_axis
from mnistbench.output.charts.stacked_bars import Stack, ledger_picture
from mnistbench.output.charts.svg import svg_text
from mnistbench.schema.escaping import printable

NAMES = st.text(min_size=1, max_size=80)
VALUES = st.lists(st.floats(), min_size=1, max_size=9)
MARKUP = "a <b> & \"c\" 'd' ]]>"


def lines(values, names, **changes):
    """A picture with a line of the `values` for each name."""
    marks = [
        Line(xs=range(len(values)), ys=values, low=values, high=values, row=name, look=k, marks=9)
        for k, name in enumerate(names)
    ]
    panel = Panel(
        x=axis_over("epoch", range(len(values)), whole=True),
        y=axis_over("loss", values, scale="log"),
        marks=marks,
        title=names[0],
    )
    told = {"name": "a", "title": "", "caption": "", "alt": names[0], "panels": [panel]}
    keys = [Key(text=name, row=name, look=k) for k, name in enumerate(names)]
    return Picture(**(told | {"keys": keys} | changes))


def dots(values, names):
    marks = [
        Dot(row=name, label=name, look=k, y=k, x=values[0], low=min(values), told=name)
        for k, name in enumerate(names)
    ]
    panel = Panel(x=axis_over("s", values), y=rows_axis(len(names)), marks=marks)
    return Picture(name="b", title="", caption="", alt=names[-1], panels=[panel])


def parsed(picture):
    return ET.fromstring(svg_text(picture))  # noqa: S314 - our own


def numbers_in(element):
    """The coordinates of a shape, each from the left and from the top."""
    if element.tag == "path":
        yield from re.findall(r"(-?[\d.e+]+|nan|inf) (-?[\d.e+]+|nan|inf)", element.get("d"))
    for x, y in (("x", "y"), ("cx", "cy")):
        if element.get(x):
            yield element.get(x), element.get(y)


@given(VALUES, st.lists(NAMES, min_size=1, max_size=9, unique_by=printable))
def test_all_marks_are_inside_and_belong_to_rows(values, names):
    times = [abs(value) for value in values if abs(value) < 1e9] or [1.0]
    for picture in (lines(values, names), dots(times, names)):
        svg = parsed(picture)
        _, _, width, height = map(float, svg.get("viewBox").split())
        assert svg.get("role") == "img"
        assert svg.get("aria-label") == printable(picture.alt)
        rows = {group.get("data-row") for group in svg.iter() if group.get("data-row")}
        assert rows == set(map(printable, names))
        for element in svg.iter():
            assert not {"style", "onclick", "href"} & set(element.keys())
            for x, y in numbers_in(element):
                assert -1 <= float(x) <= width + 1, ET.tostring(element)
                assert -1 <= float(y) <= height + 1, ET.tostring(element)


def test_a_row_is_called_as_it_is_in_the_tables():
    svg = parsed(lines([1.0, 2.0], [MARKUP]))
    (series,) = (group for group in svg.iter("g") if group.get("class") == "series c0")
    assert series.get("data-row") == MARKUP
    assert (series.get("data-x"), series.get("data-low")) == ("0 1", "1 2")
    assert MARKUP in [text.text for text in svg.iter("text")]
    (panel,) = (group for group in svg.iter("g") if group.get("class") == "panel")
    assert panel.get("data-x").startswith("linear 0 ")
    assert panel.get("data-y").startswith("log ")


def test_lines_behind_panels_stand_in_the_first_and_are_used_by_others():
    one = lines([1.0, 2.0], ["a"])
    behind = [Line(xs=[0, 1], ys=[1.0, 2.0], row="b", kind="pale")]
    svg = parsed(lines([1.0], ["a"], panels=[*one.panels] * 4, columns=3, behind=behind))
    (group,) = (group for group in svg.iter("g") if group.get("id"))
    assert [use.get("href") for use in svg.iter("use")] == [f"#{group.get('id')}"] * 3
    assert len([line for line in svg.iter("g") if line.get("data-row") == "b"]) == 1


def test_texts_that_are_long_are_cut_and_none_runs_over_another():
    long = "a-recipe-of-many-words, " * 9
    for names in ([long], [long, "short"], [f"{long}{k}" for k in range(40)]):
        picture = ledger_picture([Stack(name, {"train": 1.0}) for name in names])
        svg = parsed(picture)
        texts = [text for text in svg.iter("text") if text.text.startswith("a-recipe")]
        assert len(texts) == sum(name.startswith("a-recipe") for name in names)
        assert all(text_width(text.text) <= 420 for text in texts)
    assert text_width("漢字") >= 2 * SMALL  # as wide as high
    layout = laid_out(lines([1.0], [long, "short"]), 420.0)
    assert len({y for _, y, _ in layout.keys}) == 2
    layout = laid_out(lines([1.0], ["a", "b", "c"]), 420.0)
    assert len({y for _, y, _ in layout.keys}) == 1


def test_bars_say_what_they_are_and_of_how_much():
    picture = ledger_picture([Stack("a", {"train": 1.23456, "eval": 0.5})])
    tips = re.findall(
        'class="part (.*?)" d=".*?" fill="currentColor" data-tip="(.*?)"', svg_text(picture)
    )
    assert tips == [("p-train c0", "train 1.23 seconds"), ("p-eval c4", "eval 0.5 seconds")]


def test_fifty_six_rows_look_different_and_those_of_seven_by_colour_alone():
    svg = parsed(lines([1.0], [f"row-{k}" for k in range(56)]))
    looks = []
    for key in (group for group in svg.iter("g") if group.get("class").startswith("key ")):
        line, mark = key.find("path"), key.find("circle")
        looks.append((key.get("class"), line.get("stroke-dasharray"), mark.get("fill")))
    assert len(set(looks)) == 56
    assert len({colour for colour, *_ in looks[:7]}) == 7
