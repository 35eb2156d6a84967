"""Pictures at a column's width: what is in them, at any values that a record may hold."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from mnistbench.output.charts.curve_pictures import curve_pictures
from mnistbench.output.charts.roofline import RooflinePoint, roofline_picture
from mnistbench.output.charts.rows import parts_of
from mnistbench.output.charts.speed_pictures import Speed, speed_picture, speedup_picture
from mnistbench.output.charts.stacked_bars import Stack, ledger_pictures, step_pictures
from mnistbench.output.charts.style import COLOURS, Picture, darkened, drawn, new_figure
from mnistbench.output.charts.time_pictures import TimedRow, time_pictures
from mnistbench.output.page.page import render_page
from mnistbench.schema.record import Throughput, TrainPoint
from mnistbench.stats.survival import CensoredMedian
from tests.page_records import COSTS, page_record

LETTERS = ["font.size", "axes.labelsize", "axes.titlesize", "legend.fontsize"]
LETTERS += ["xtick.labelsize", "ytick.labelsize"]


def text_of(picture):
    """The SVG of a picture, in which each text stands as a comment beside its outlines."""
    svg = drawn(picture, "svg").decode()
    assert ET.fromstring(svg).tag.endswith("svg")  # noqa: S314 - our own file
    return svg


def words_of(picture):
    return re.findall(r"<!-- (.*?) -->", text_of(picture), re.DOTALL)


def test_a_picture_is_the_same_bytes_each_time():
    (picture,) = ledger_pictures([Stack("a", {"train": 3.0, "eval": 1.0})])
    for kind, begins in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        data = drawn(picture, kind)
        assert data.startswith(begins)
        assert data == drawn(picture, kind)
    assert b"#ffffff" in drawn(picture, "svg")
    assert b"#ffffff" not in drawn(picture, "svg", background=False)


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", COLOURS)
def test_lines_stand_out_from_a_dark_page(colour):
    assert contrast(darkened(colour.encode()).decode(), "#12161b") > 3


def test_no_letter_is_below_seven_points():
    import matplotlib as mpl

    found = []

    def draw():
        found.extend(mpl.rcParams[name] for name in LETTERS)
        assert mpl.rcParams["text.parse_math"] is False
        return new_figure(1.0)

    drawn(Picture(name="a", title="a", caption="a", alt="a", draw=draw), "svg")
    assert min(found) >= 7


def test_few_rows_are_drawn_together_and_many_each_in_its_panel():
    rows = [[page_record(seed, (0.8 + k / 100, 0.95)) for seed in range(3)] for k in range(12)]
    names = [f"row-{k}" for k in range(12)]
    accuracy, loss = curve_pictures(rows[:3], names[:3])
    assert (accuracy.name, loss.name) == ("accuracy", "loss")
    assert {"row-0: 95.00 %", "row-2: 95.00 %", "test accuracy (%)"} <= set(words_of(accuracy))
    assert text_of(accuracy).count('id="FillBetween') == 3
    accuracy, loss = curve_pictures(rows, names)
    assert set(names) <= set(words_of(accuracy))
    assert "Pale lines" in accuracy.caption
    assert "12 rows. They end at 95.00 %." in accuracy.alt
    assert "They end" not in loss.alt


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
    assert [picture.name for picture in pictures] == ["accuracy-1", "accuracy-2"]
    assert pictures[0].caption.endswith("The 48 rows that end highest, of 60.")
    assert "row-12" in words_of(pictures[0])
    parts, told = parts_of(names * 2)
    assert ([len(part) for part in parts], told) == ([40, 40], " The first 80 of 120 rows.")


def test_times_are_dots_with_intervals_and_what_was_not_reached_says_so():
    rows = [
        TimedRow("fast", CensoredMedian(2.0, 1.5, 3.0, 6, 6)),
        TimedRow("some", CensoredMedian(4.0, 3.0, None, 4, 6), "†"),
        TimedRow("alone", CensoredMedian(5.0, None, None, 1, 1)),
        TimedRow("never", CensoredMedian(None, None, None, 0, 6)),
    ]
    (picture,) = time_pictures(rows, 0.995)
    assert picture.name == "time-to-99-5"
    assert {"fast", "some†", "4 of 6", "not reached, 0 of 6"} <= set(words_of(picture))
    assert picture.alt == (
        "Median train seconds to 99.5 %: fast 2.00; some 4.00; alone 5.00; never not reached."
    )
    assert time_pictures(rows[-1:], 0.97) == []
    (wide,) = time_pictures([*rows, TimedRow("slow", CensoredMedian(900.0, 1, 990, 6, 6))], 0.97)
    assert {"1", "10", "100"} <= set(words_of(wide))


def test_parts_that_nobody_could_see_are_other():
    rows = [Stack("a", {"train": 99.8, "build": 0.1, "eval": 20.0}), Stack("b", {"train": 3.0})]
    (picture,) = ledger_pictures(rows)
    words = words_of(picture)
    assert {"train", "eval", "other", "a", "b"} <= set(words)
    assert "build" not in words
    assert "In the first row, train is 83 %." in picture.alt
    (step,) = step_pictures([Stack("a", {"arithmetic": 1.0}, 2.0)])
    assert "milliseconds a step" in words_of(step)


def test_speeds_need_two_points_in_a_series():
    speeds = [Speed("a", 64, 100.0, 90.0, 110.0), Speed("b", 64, 50.0, None, None)]
    assert speed_picture(speeds, against="batch") is None
    picture = speed_picture([*speeds, Speed("a", 256, 200.0, None, None)], against="batch")
    assert {"64", "256", "a", "samples in a step"} <= set(words_of(picture))
    assert "b" not in words_of(picture)
    gain = speedup_picture([Speed("strong", 4, 3.1, 3.0, 3.2)], number=2)
    assert gain.name == "speed-up-2"
    assert {"1", "4", "× samples/s"} <= set(words_of(gain))
    assert speedup_picture([]) is None


def test_a_roofline_has_a_point_for_each_row_and_a_roof_for_each_machine():
    points = [RooflinePoint("one", "cpu", COSTS), RooflinePoint("two", "gpu", COSTS)]
    picture = roofline_picture(points)
    assert {"one", "two", "cpu", "gpu", "Gflop/s"} <= set(words_of(picture))
    assert "one 62 %" in picture.alt
    empty = COSTS.model_copy(update={"flops": 0})
    assert roofline_picture([RooflinePoint("one", "cpu", empty)]) is None


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
    assert render_page([*odd, page_record(**large)]).count("<img ") >= 3
