"""Pictures: real files with the curves in them."""

import xml.etree.ElementTree as ET

import pytest

from mnistbench.analysis.plots import plot_curves
from mnistbench.schema.errors import InputError


def test_png_and_svg_are_written(make_record, tmp_path):
    records = [make_record(seed) for seed in range(3)] + [make_record(name="cnn4-ce")]
    plot_curves(records, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    plot_curves(records, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own file
    for expected in ("converges to 98.00 %", "simple-cnn on mnist (n = 3)", "cnn4-ce on mnist"):
        assert expected in text  # matplotlib keeps each text as a comment beside its outlines


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.txt"])
def test_other_formats_are_refused_before_drawing(make_record, tmp_path, name):
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        plot_curves([make_record()], tmp_path / name)


def test_nothing_to_draw_and_nowhere_to_write_are_one_line(make_record, tmp_path):
    with pytest.raises(InputError, match="no run with an evaluation"):
        plot_curves([make_record(eval_points=[])], tmp_path / "a.png")
    with pytest.raises(InputError, match="cannot be written"):
        plot_curves([make_record()], tmp_path / "missing" / "a.png")
