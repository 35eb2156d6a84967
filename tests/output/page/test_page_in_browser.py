"""The page in a real browser: what it shows at any width, and what its script does."""

import re
import shutil

import pytest

from mnistbench.output.page import page as pages
from mnistbench.output.page.page import render_page
from mnistbench.output.page.parts import Section, Table
from tests.page_records import every_kind, page_record

pytestmark = [pytest.mark.slow, pytest.mark.processes]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LONG = "<b>$x" + "long" * 200
CELLS = {
    "speed": ["1,200 ± 3", "900.5", "–", "≤ 1.5e3†", "not reached"],
    "time": ["2 min", "900 ms", "3.5 (–) s", "–", "1 of 6 reached"],
    "name": ["lr 0.5", "lr 0.05", "lr 10", "=SUM(A1)", "@home"],
}
BY = {
    "speed": [1, 0, 3, 4, 2],
    "time": [1, 2, 0, 4, 3],
    "name": [4, 3, 1, 0, 2],
}
"""Columns, and the places of their rows when sorted upwards."""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


def few():
    """Three rows of several seeds, which have a curve each and a time to the target."""
    accuracies = {"0.1": (0.9, 0.95, 0.98), "0.2": (0.8, 0.9, 0.98), "0.5": (0.5, 0.6, 0.7)}
    return [
        page_record(seed, curve, config={"lr": float(lr)}, run_id=f"{lr}-{seed}")
        for lr, curve in accuracies.items()
        for seed in range(3)
    ]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """A page of every kind of section and odd names, one of a few rows, and one of odd cells."""
    odd = page_record(name="cnn4-ce", environment={"cpu_name": LONG}, config={"loop": LONG})
    texts = {"all": render_page([*every_kind(), odd]), "few": render_page(few())}
    rows = [{"run": str(k)} | {name: cells[k] for name, cells in CELLS.items()} for k in range(5)]
    section = Section(key="odd", title="Odd", lead="Cells.", tables=[Table(rows=rows)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "_sections", lambda _subject: [section])
        texts["cells"] = render_page(few())
    folder = tmp_path_factory.mktemp("page")
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return {name: (folder / f"{name}.html").as_uri() for name in texts}


@pytest.fixture
def opened(browser, addresses):
    """Opens a page in a window of a width and scheme; at the end, it must have been quiet."""
    contexts, complaints, asked = [], [], []

    def open_page(name="few", *, width=1280, scheme="light", media="screen", at="", scripts=True):
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
            java_script_enabled=scripts,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.emulate_media(media=media, color_scheme=scheme)
        page.goto(addresses[name] + at)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []  # the console tells of violations of the policy, too
    pages_alone = {url.split("#")[0] for url in asked if not url.startswith(("data:", "blob:"))}
    assert pages_alone <= set(addresses.values())


def luminance(page, of="document.body", what="backgroundColor"):
    colour = page.evaluate(f"getComputedStyle({of}).{what}")
    return max(map(int, re.findall(r"\d+", colour)[:3]))


def shown(page, table="summary"):
    return page.locator(f"table[data-table='{table}'] tbody tr:visible th").all_inner_texts()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_a_browser_shows_all_of_it_at_any_width(opened, width, scheme):
    page = opened("all", width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    heights = page.evaluate(
        "[...document.querySelectorAll('svg.chart')].map((one) => one.clientHeight)"
    )
    assert len(heights) > 5
    assert all(heights)
    assert (luminance(page) > 200) == (scheme == "light")
    ink = luminance(page, "document.querySelector('.chart .ink')", "fill")
    assert (ink < 100) == (scheme == "light")
    wide = page.evaluate("[...document.querySelectorAll('.scroll')].map((one) => one.clientWidth)")
    assert max(wide) <= width
    first = page.locator("table[data-table='summary'] tbody th").first
    left = first.bounding_box()["x"]
    page.evaluate("document.querySelector('.scroll').scrollLeft = 200")
    assert first.bounding_box()["x"] == left  # the names stay


def test_print_is_light_and_says_what_is_filtered(opened):
    page = opened(scheme="dark", media="print", at="#filter=0.5")
    assert luminance(page) > 200
    assert luminance(page, "document.querySelector('.chart .ink')", "fill") < 100
    assert page.locator("output").inner_text() == "1 of 3 rows"
    unused = page.locator(".csv:visible, button.axis:visible, .tools button:visible")
    assert unused.count() == 0
    assert page.get_by_role("searchbox").is_visible()
    page.get_by_role("searchbox").evaluate("(box) => { box.value = '' }")
    assert page.get_by_role("searchbox").is_hidden()  # its hint is no filter
    assert page.locator("thead th:visible").first.inner_text() == "run"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_it_reads_and_nothing_is_dead(opened):
    page = opened(scripts=False)
    assert page.locator("tbody tr:visible").count() > 6
    assert page.locator("svg.chart:visible").count() > 2
    assert page.locator("button:visible, input:visible").count() == 0


def test_the_filter_is_of_all_tables_and_pictures(opened):
    page = opened()
    names = shown(page)
    box = page.get_by_role("searchbox", name="Filter rows")
    box.fill("LR 0.5")
    assert shown(page) == shown(page, "ledger") == names[2:]
    assert page.locator("output").inner_text() == "1 of 3 rows"
    assert page.locator(".series:visible").evaluate_all(
        "(all) => [...new Set(all.map((one) => one.dataset.row))]"
    ) == [names[2]]
    assert page.locator("svg .row:visible").count() == page.locator("svg:has(.row):visible").count()
    assert page.locator(".command:visible h3").all_inner_texts() == names[2:]
    box.fill("0.2 98.00")  # of a name and of a cell
    assert shown(page) == names[1:2]
    box.fill("(* [\\ +? nothing has this")
    assert shown(page) == []
    page.get_by_role("button", name="Show all").click()
    assert shown(page) == names
    assert box.input_value() == ""


def test_a_row_is_switched_off_and_lit_in_all_pictures_at_once(opened):
    page = opened()
    name = shown(page)[0]
    drawn = page.locator(f'.series[data-row="{name}"]')
    assert drawn.count() == 2  # accuracy and loss
    press = page.get_by_role("button", name=f"Show {name} in pictures").first
    press.focus()
    page.keyboard.press("Space")
    assert press.get_attribute("aria-pressed") == "false"
    assert page.locator(f'.series[data-row="{name}"]:visible').count() == 0
    assert shown(page)[0] == name  # to be switched on again
    key = page.locator("svg").get_by_role("button", name=name).first
    assert key.get_attribute("aria-pressed") == "false"
    key.click()
    key.press("Enter")
    key.press(" ")
    assert press.get_attribute("aria-pressed") == "true"
    assert page.locator(f'.series[data-row="{name}"]:visible').count() == 2
    page.locator("table[data-table='ledger'] tbody tr").nth(1).hover()
    lit = page.locator(".chart .lit").evaluate_all("(all) => all.map((one) => one.dataset.row)")
    assert len(lit) >= 4
    assert set(lit) == {shown(page)[1]}


def test_the_values_under_the_pointer_are_told(opened):
    page = opened()
    name = shown(page)[1]
    figure = page.locator("figure[data-picture='accuracy']")
    figure.scroll_into_view_if_needed()
    figure.locator(f'.series[data-row="{name}"] circle').nth(1).hover(force=True)
    assert page.locator(".tip").inner_text() == f"{name}\nepoch 2: 90 (90–90)"
    page.locator(f'.row[data-row="{name}"] .part').last.hover()
    assert page.locator(".tip").inner_text().startswith(f"{name}\neval 2")
    page.set_viewport_size({"width": 390, "height": 300})
    right = page.evaluate("document.querySelector('figure svg').getBoundingClientRect().right")
    page.mouse.move(right - 12, 290)
    page.locator(f'.row[data-row="{name}"] .part').last.hover()
    tip = page.locator(".tip").bounding_box()
    assert tip["x"] + tip["width"] <= 390  # nowhere out of the window, and not squeezed
    assert tip["y"] + tip["height"] <= 300
    assert tip["height"] < 60
    page.locator("h1").hover()
    assert page.locator(".tip").is_hidden()


def test_an_axis_is_switched_and_back(opened):
    page = opened()
    figure = page.locator("figure[data-picture='accuracy']")
    before = figure.locator("svg").inner_html()
    press = figure.get_by_role("button", name="Linear axis")
    press.click()
    assert press.get_attribute("aria-pressed") == "true"
    panel = figure.locator(".panel")
    assert panel.get_attribute("data-y").startswith("linear ")
    _, top, _, height = map(float, panel.get_attribute("data-box").split())
    low, high = map(float, panel.get_attribute("data-y").split()[1:])
    line = figure.locator(".series").first
    heights = [float(one.get_attribute("cy")) for one in line.locator("circle").all()]
    values = [float(y) for y in line.get_attribute("data-y").split()]
    expected = [top + height * (high - value) / (high - low) for value in values]
    assert heights == pytest.approx(expected, abs=0.6)
    ticks = figure.locator(".ticks.y text").all_text_contents()
    assert ticks == ["50", "60", "70", "80", "90"]
    assert figure.locator(".grid .y").get_attribute("d").count("M") == len(ticks)
    press.click()
    assert figure.locator("svg").inner_html() == before
    seconds = page.locator("figure[data-picture='time-to-97']")
    seconds.get_by_role("button", name="Logarithmic axis").click()
    assert seconds.locator(".panel").get_attribute("data-x").startswith("log ")
    assert seconds.locator(".ticks.x text").count() > 2  # in a narrow range, too


@pytest.mark.parametrize("column", CELLS)
def test_columns_sort_by_value_and_unknown_ones_are_last(opened, column):
    page = opened("cells")
    head = page.get_by_role("columnheader", name=column)

    def order():
        return [int(name) for name in shown(page, "odd")]

    head.get_by_role("button").click()
    assert order() == BY[column]
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    unknown = [k for k in range(5) if CELLS[column][k] == "–"]
    assert order() == [k for k in reversed(BY[column]) if k not in unknown] + unknown
    head.get_by_role("button").click()
    assert order() == [0, 1, 2, 3, 4]
    assert head.get_attribute("aria-sort") is None


def test_what_is_shown_of_a_table_is_saved_and_no_cell_runs(opened):
    page = opened("cells", at="#sort=odd:down:run")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save these rows as CSV").click()
    assert waiting.value.suggested_filename == "odd.csv"
    lines = waiting.value.path().read_text("utf-8-sig").splitlines()
    assert lines[0] == '"run","speed","time","name"'
    assert lines[1] == '"4","not reached","1 of 6 reached","\'@home"'
    assert lines[2].endswith(',"\'=SUM(A1)"')
    assert len(lines) == 6


def seen(place):
    """Waits until `place` is in the window."""
    from playwright.sync_api import expect

    expect(place).to_be_in_viewport()


def test_the_address_holds_what_was_chosen(opened):
    page = opened()
    names = shown(page)
    page.get_by_role("searchbox").fill("lr 0")
    page.get_by_role("columnheader", name="samples/s").get_by_role("button").dblclick()
    page.get_by_role("button", name=f"Show {names[1]} in pictures").first.click()
    page.locator("figure[data-picture='accuracy'] button").click()
    page.get_by_role("link", name="Curves").click()
    page.wait_for_url(re.compile(r"#curves&filter=.*&hide=.*&sort=.*&axis=accuracy$"))
    again = opened(at="#" + page.url.partition("#")[2])
    assert again.get_by_role("searchbox").input_value() == "lr 0"
    assert shown(again) == shown(page)
    assert again.get_by_role("columnheader", name="samples/s").get_attribute("aria-sort")
    assert again.locator(f'.series[data-row="{names[1]}"]:visible').count() == 0
    assert again.locator("figure[data-picture='accuracy'] button[aria-pressed='true']").count() == 1
    seen(again.locator("#curves h2"))
    seen(opened(at="#curves").locator("#curves h2"))  # a link to a section, as before
