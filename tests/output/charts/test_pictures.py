"""Pictures: what is in them, at any values that a record may hold."""

import html
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from mnistbench.output.charts.curve_pictures import curve_pictures
from mnistbench.output.charts.figure import drawn
from mnistbench.output.charts.roofline import RooflinePoint, roofline_picture
from mnistbench.output.charts.shapes import COLOURS
from mnistbench.output.charts.speed_pictures import Speed, speed_picture, speedup_picture
from mnistbench.output.charts.stacked_bars import Stack, ledger_picture, step_picture
from mnistbench.output.charts.svg import svg_text
from mnistbench.output.charts.time_pictures import TimedRow, time_picture
from mnistbench.output.page.page import render_page
from mnistbench.schema.record import Throughput, TrainPoint
from mnistbench.stats.readings import Level
from tests.page_records import COSTS, page_record


def words_of(picture):
    """All texts of a picture on a page."""
    return [text.text for text in ET.fromstring(svg_text(picture)).iter("text")]  # noqa: S314 - ours


def test_a_picture_is_the_same_bytes_each_time():
    picture = ledger_picture([Stack("a", {"train": 3.0, "eval": 1.0})])
    for kind, begins in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        data = drawn(picture, kind)
        assert data.startswith(begins)
        assert data == drawn(picture, kind)
    assert svg_text(picture) == svg_text(picture)


@pytest.mark.parametrize(
    "name", ["a <row> & 'more'", "</svg><script>", "$x^{$\\frac{", "漢字 \ud800\x1b[31m", "\n\t"]
)
def test_a_file_has_the_same_texts_and_colours_as_the_page(name):
    picture = curve_pictures([[page_record(seed, (0.8, 0.95)) for seed in range(3)]], [name])[0]
    file = drawn(picture, "svg").decode()
    written = re.findall(r"<!-- (.*?) -->", file)  # matplotlib's comments beside its outlines
    assert sorted(map(html.unescape, written)) == sorted(words_of(picture))
    assert COLOURS[0] in file


def test_few_rows_are_drawn_together_and_many_each_in_its_panel():
    rows = [[page_record(seed, (0.8 + k / 100, 0.95)) for seed in range(3)] for k in range(12)]
    names = [f"row-{k}" for k in range(12)]
    accuracy, loss = curve_pictures(rows[:3], names[:3])
    assert (accuracy.name, loss.name) == ("accuracy", "loss")
    assert {"row-0: 95.00 %", "row-2: 95.00 %", "test accuracy (%)"} <= set(words_of(accuracy))
    assert svg_text(accuracy).count('class="band"') == 3
    accuracy, loss = curve_pictures(rows, names)
    assert set(names) <= set(words_of(accuracy))
    assert "Pale lines" in accuracy.caption
    assert "12 rows. They end at 95.00 %." in accuracy.alt
    assert "They end" not in loss.alt


def test_a_caption_tells_medians_from_single_runs():
    def caption(*rows):
        return curve_pictures(rows, [f"row-{k}" for k in range(len(rows))])[0].caption

    several = [page_record(seed) for seed in range(3)]
    assert caption(several[:1]).startswith("Each line is one run. The axis")
    assert caption(several[:2]).startswith("Each line is the median over seeds. The axis")
    assert caption(several).startswith("Each line is the median over seeds. A band is")
    assert caption(several, several[:1]).startswith("Each line is the median over seeds, or one")
    assert "Thin lines" in caption([*several, page_record(3, (0.9, 0.95))])


def test_rows_of_one_model_have_a_picture_of_their_own():
    names = [f"{model}, loss-{k}" for model in ("cnn", "mlp") for k in range(4)]
    pictures = curve_pictures([[page_record()] for _ in names], names)
    assert [picture.title for picture in pictures[::2]] == [
        "cnn: test accuracy by epoch",
        "mlp: test accuracy by epoch",
    ]
    assert "loss-3: 98.00 %" in words_of(pictures[0])


def test_too_many_rows_to_be_told_apart_are_not_drawn():
    names = [f"row-{k}" for k in range(60)]
    rows = [[page_record(0, (0.3 + k / 100,), train_points=[])] for k in range(60)]
    pictures = curve_pictures(rows, names)
    assert [picture.name for picture in pictures] == ["accuracy"]
    assert pictures[0].caption.endswith("The 48 rows that end highest, of 60.")
    assert "row-12" in words_of(pictures[0])
    ledger = ledger_picture([Stack(f"row-{k}", {"train": 1.0}) for k in range(120)])
    assert ledger.caption.endswith(" The first 80 of 120 rows.")
    assert len(ledger.panels[0].marks) == 80


TIMES = [
    TimedRow("fast", Level(2.0, 1.5, 3.0, 6, 6)),
    TimedRow("some", Level(4.0, 3.0, None, 6, 4), "†", 1),
    TimedRow("alone", Level(5.0, None, None, 1, 1)),
    TimedRow("few", Level(None, None, None, 6, 2)),
    TimedRow("never", Level(None, None, None, 1, 0)),
]


def test_times_are_dots_with_intervals_and_what_was_not_reached_says_so():
    picture = time_picture(TIMES, 0.995)
    assert picture.name == "time-to-99-5"
    texts = {"fast", "some†", "4 of 6", "2 of 6 reached", "not reached"}
    assert texts <= set(words_of(picture))
    assert picture.alt == (
        "Median train seconds to 99.5 %: fast 2.00; some 4.00; alone 5.00; few 2 of 6 reached; "
        "never not reached."
    )
    told = re.findall('class="(c.)" data-tip="(.*?)"', svg_text(picture))
    assert told == [
        ("c0", "2.00 s (1.50–3.00), 6 of 6 seeds"),
        ("c1", "4.00 s (3.00–∞), 4 of 6 seeds"),
        ("c0", "5.00 s"),
    ]
    assert time_picture(TIMES[-1:], 0.97) is None
    slow = TimedRow("slow", Level(900.0, 1, 990, 6, 6))
    wide = time_picture([*TIMES, slow], 0.97)
    assert {"1", "10", "100"} <= set(words_of(wide))
    assert wide.caption.endswith("an arrow has no upper end; numbers are how many seeds got there.")
    whole = time_picture(TIMES[:1], 0.97)
    assert whole.caption == (
        "A dot is the median over all seeds (Turnbull); a line its 95 % interval."
    )
    assert time_picture(TIMES[2:3], 0.97).caption == "A dot is the time of one run."


def test_parts_that_nobody_could_see_are_other():
    rows = [Stack("a", {"train": 99.8, "build": 0.1, "eval": 20.0}), Stack("b", {"train": 3.0})]
    picture = ledger_picture(rows)
    words = words_of(picture)
    assert {"train", "eval", "other", "a", "b"} <= set(words)
    assert "build" not in words
    assert "In the first row, train is 83 %." in picture.alt
    step = step_picture([Stack("a", {"arithmetic": 1.0}, 2.0)])
    assert "milliseconds a step" in words_of(step)


def test_speeds_need_two_points_in_a_series():
    speeds = [Speed("a", 64, 100.0, 90.0, 110.0, "row of a"), Speed("b", 64, 50.0, None, None)]
    assert speed_picture(speeds, against="batch") is None
    picture = speed_picture([*speeds, Speed("a", 256, 200.0, None, None)], against="batch")
    assert {"64", "256", "a", "samples in a step"} <= set(words_of(picture))
    assert "b" not in words_of(picture)
    assert 'data-row="row of a"' in svg_text(picture)
    gain = speedup_picture([Speed("strong", 4, 3.1, 3.0, 3.2)], number=2)
    assert gain.name == "speed-up-2"
    assert {"1", "4", "× samples/s"} <= set(words_of(gain))
    assert speedup_picture([]) is None


def test_a_roofline_has_a_point_for_each_row_and_a_roof_for_each_machine():
    faster = {"ceilings": COSTS.ceilings.model_copy(update={"matmul_flops_per_s": 1e13})}
    gpu = RooflinePoint("two", "gpu", COSTS.model_copy(update=faster).work, 8)
    points = [RooflinePoint("one", "cpu", COSTS.work), gpu]
    picture = roofline_picture(points)
    assert {"one", "two", "cpu", "gpu", "Gflop/s"} <= set(words_of(picture))
    assert "one 62 %" in picture.alt
    seen = re.findall('class="series (c.)" data-row="(.*?)"', svg_text(picture))
    assert seen == [("c0", "one"), ("c1", "two")]
    empty = COSTS.model_copy(update={"flops": 0})
    assert roofline_picture([RooflinePoint("one", "cpu", empty.work)]) is None


def points(record, **changes):
    return {"eval_points": [replace(p, **changes) for p in record.eval_points]}


def losses(*values):
    return {
        "train_points": [TrainPoint(step=k, epoch=k, loss=v) for k, v in enumerate(values, start=1)]
    }


ONE = page_record()
TINY = {"step_s": 1e-300, "arithmetic_s": 0.0, "traffic_s": 0.0, "loader_s": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        points(ONE, train_s=1e100),
        points(ONE, train_s=0.0),
        points(ONE, epoch=1e100, loss=None) | {"status": "diverged"},
        losses(-1.0, -1e100),
        losses(1e100, 1e-300),
        losses(0.0),
        {"phases_s": {"train": -5.0, "eval": 1e100}, "wall_s": 1e100},
        {"throughput": Throughput(samples_per_s=0.0)},
        {"step_costs": COSTS.model_copy(update={**TINY, "flops": 1, "traffic_bytes": 2**63})},
    ],
)
def test_any_value_can_be_drawn(change):
    odd = [record.model_copy(update=change) for record in (ONE, page_record(1), page_record(2))]
    large = {"config": {"global_batch_size": 2**62}, "environment": {"global_batch_size": 2**62}}
    assert render_page([*odd, page_record(**large)]).count("<svg ") >= 3


def test_a_study_of_many_rows_is_small_text_and_each_mark_is_of_a_row():
    names = [f"{model}, loss-{k}" for model in ("cnn", "mlp") for k in range(12)]
    curve = [1 - 1 / k for k in range(2, 200)]
    long = losses(*(1 / k for k in range(1, 2000)))
    pictures = curve_pictures(
        [[page_record(s, curve, **long) for s in range(6)] for _ in names], names
    )
    texts = [svg_text(picture) for picture in pictures]
    assert sum(map(len, texts)) < 250_000
    assert set(re.findall('data-row="(.*?)"', "".join(texts))) == set(names)
    assert len(set(re.findall(' id="(.*?)"', "".join(texts)))) == len(pictures) == 4
