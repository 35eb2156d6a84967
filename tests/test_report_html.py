"""The page that ``report --html`` writes: harmless whatever it is of."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mnistbench import report as door
from mnistbench.output.page.page import render_page
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import record_json, save_record
from tests.page_records import every_kind, page_record
from tests.test_odd_records import JSON

pytestmark = pytest.mark.slow

IN_PICTURES = {
    *("svg", "g", "path", "circle", "rect", "text", "title", "use"),
    *("class", "viewbox", "role", "aria-label", "font-size", "text-anchor", "href", "id"),
    *("x", "y", "d", "cx", "cy", "r", "width", "height"),
    *("fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin"),
    *(f"data-{name}" for name in ("row", "box", "x", "y", "low", "high", "v", "tip")),
}
"""Tags and attributes of pictures."""

HOSTILE = st.text(min_size=1, max_size=60) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "\"'><img src=x onerror=alert(1)>",
        "</style><script>x</script>",
        "</title></pre></code></table><h1>",
        "{{ 7 * 7 }}{% raw %}{#",
        "javascript:alert(1)",
        "&lt;b&gt;&#x0;",
        "$x^{$\\frac",
        "a\nb\r\n\x00\x1b[31m\ud800\u202e",
        "-->]]><!--",
        "x" * 5000,
        "$(reboot); `id` | 'sh'",
    ]
)


class Structure(HTMLParser):
    """The tags of a page with the names of their attributes, those in pictures, what it loads."""

    def __init__(self):
        super().__init__()
        self.tags, self.drawn, self.loads, self.policy = [], set(), [], None
        self.in_picture = False

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        self.in_picture |= tag == "svg"
        if self.in_picture:
            self.drawn |= {tag, *names}
        else:
            self.tags.append((tag, *names))
        values = dict(attrs)
        self.loads += [values[name] for name in ("src", "href", "srcset") if name in values]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]

    def handle_endtag(self, tag):
        if not self.in_picture:
            self.tags.append((f"/{tag}",))
        self.in_picture &= tag != "svg"


def structure_of(page):
    parser = Structure()
    parser.feed(page)
    parser.close()
    return parser


def named(text, other):
    """Records in which everything that is free text is `text`, or `other` where they differ."""
    environment = {
        "device_name": text,
        "cpu_name": text,
        "driver": text,
        "platform": text,
        "launcher": text,
        "git_commit": text,
        "versions": {text: text},
        "num_machines": text,
    }
    records = [
        page_record(seed, environment=environment, config={"loop": text, "surprise": text})
        for seed in range(2)
    ]
    elsewhere = environment | {"cpu_name": other}
    broken = page_record(environment=elsewhere, status="failed", error=text, name="cnn4-ce")
    watched = every_kind()[-4]
    operators = [watched.profile.operators[0].model_copy(update={"name": text[:300]})]
    profile = watched.profile.model_copy(
        update={"operators": operators, "files": [text], "hooks": [text]}
    )
    watched = watched.model_copy(update={"profile": profile})
    info = broken.recipe.model_copy(update={"name": text, "source": text, "changed": [text]})
    return [*records, broken.model_copy(update={"recipe": info}), watched]


@given(text=HOSTILE, other=HOSTILE)
@settings(max_examples=60)
def test_names_change_nothing_in_a_page_but_its_text(text, other):
    same = render_page(named("a name", "another" if other != text else "a name"))
    harmless, hostile = structure_of(same), structure_of(render_page(named(text, other)))
    assert hostile.tags == harmless.tags
    assert hostile.policy == harmless.policy
    assert all(address.startswith(("data:", "#")) for address in hostile.loads)
    assert hostile.tags.count(("script",)) == hostile.tags.count(("style",)) == 1
    assert hostile.drawn <= IN_PICTURES


@given(
    number=st.integers(0, len(every_kind()) - 1),
    part=st.sampled_from(["config", "environment"]),
    data=st.data(),
)
@settings(max_examples=30)
def test_any_value_of_a_record_makes_a_page(number, part, data):
    records = every_kind()
    values = json.loads(record_json(records[number]))
    values[part][data.draw(st.sampled_from(sorted(values[part])))] = data.draw(JSON)
    try:
        odd = RunRecord.model_validate(values)
    except ValidationError:
        return
    assert render_page([odd]).endswith("</html>")
    records[number] = odd
    assert render_page(records).count("<h2 ") > 8


def test_a_page_loads_nothing_runs_its_own_script_alone_and_says_so():
    page = render_page(every_kind())
    found = structure_of(page)
    tags = {tag for tag, *_ in found.tags}
    assert not tags & {"iframe", "object", "embed", "form", "base", "img"}
    attributes = {name for _, *names in found.tags for name in names}
    assert not {name for name in attributes if name.startswith("on") or name == "style"}
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in found.policy
        assert not re.search(r"https?:|url\(|@import|innerHTML|eval|fetch", text)
    assert found.policy.startswith("default-src 'none'; ")
    assert page.index("Content-Security-Policy") < page.index("<style>")


@pytest.fixture
def runs(tmp_path):
    for number, record in enumerate(every_kind()):
        changed = record.model_copy(update={"run_id": f"run-{number}"})
        save_record(changed, tmp_path / "runs" / str(number))
    return tmp_path / "runs"


def test_the_door_writes_the_page_and_prints_the_table(runs, tmp_path, capsys):
    target = tmp_path / "new" / "report.html"
    assert door.main([str(runs), "--html", str(target), "--targets", "0.95"]) == 0
    assert "simple-cnn" in capsys.readouterr().out
    page = target.read_text()
    assert page.startswith("<!doctype html>")
    assert "To 95 %" in page
    assert re.search(r"Made \d{4}-\d\d-\d\d \d\d:\d\d UTC by mnistbench \S+\.", page)
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


def test_the_door_draws_the_pictures_of_the_page(runs, tmp_path, capsys):
    assert door.main([str(runs), "--figures", str(tmp_path / "figures")]) == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    told = f"mnistbench: {len(names)} pictures written to {tmp_path}/figures ("
    assert capsys.readouterr().err.startswith(told)
    assert {"roofline.png", "roofline.svg", "speed-up.svg", "accuracy.png"} <= names


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--html", "page.pdf"], "--html: page.pdf should end in .html or .htm"),
        (["--html", "page.html", "--rules"], "--html: is a flag of `mnistbench report`"),
        (["--html", "page.html", "--by-epoch"], "--html: is a flag of `mnistbench report`"),
        (["--html", "runs/page.html/page.html"], "runs/page.html is not a folder"),
        (["--figures", "runs/page.html"], "runs/page.html is not a folder"),
    ],
)
def test_what_makes_no_page_is_one_line(runs, argv, says, monkeypatch, capsys):
    monkeypatch.chdir(runs.parent)
    (runs / "page.html").write_text("")
    with pytest.raises(SystemExit) as stop:
        door.main([str(runs), *argv])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
