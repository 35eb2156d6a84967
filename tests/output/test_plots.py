"""Pictures: real files with the curves in them."""

import xml.etree.ElementTree as ET

import pytest

from mnistbench.output.charts.curves import look, median_curve
from mnistbench.output.plots import plot_curves
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
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        plot_curves([make_record()], tmp_path / "file" / "a.png")


def svg_of(records, path, **options):
    plot_curves(records, path, **options)
    return path.read_text()


def test_three_seeds_have_a_band_around_their_mean_and_two_have_none(make_record, tmp_path):
    curves = [(0.90 + seed / 100, 0.95, 0.98) for seed in range(3)]
    three = [make_record(seed, curve) for seed, curve in enumerate(curves)]
    assert svg_of(three, tmp_path / "a.svg").count('id="FillBetween') == 2
    assert svg_of(three, tmp_path / "b.svg", accuracy_only=True).count('id="FillBetween') == 1
    assert svg_of(three[:2], tmp_path / "c.svg").count('id="FillBetween') == 0


def test_the_loss_is_left_out_on_request(make_record, tmp_path):
    assert "training loss" in svg_of([make_record()], tmp_path / "a.svg")
    text = svg_of([make_record()], tmp_path / "b.svg", accuracy_only=True)
    assert "training loss" not in text
    assert "test accuracy (%)" in text


def test_runs_with_other_evaluations_are_drawn_apart(make_record, tmp_path):
    records = [make_record(0), make_record(1), make_record(2, (0.9, 0.95))]
    text = svg_of(records, tmp_path / "a.svg", accuracy_only=True)
    assert 'id="FillBetween' not in text
    assert text.count("simple-cnn on mnist (n = 3)") == 1


def test_runs_with_some_evaluations_in_common_have_a_median_of_those():
    dense = [([0.1, 0.2, 1.0, 2.0], [5.0, 6.0, 8.0, 9.0]), ([0.1, 1.0, 1.5, 2.0], [5.0, 6, 7, 7])]
    assert median_curve(dense) == ([0.1, 1.0, 2.0], [5.0, 7.0, 8.0])
    stopped = [*dense, ([0.1, 1.0], [1.0, 2.0])]
    assert median_curve(stopped) == dense[0]  # as far as all went would hide their ends
    assert median_curve([([1.0], [5.0]), ([0.5, 1.0], [5.0, 6.0])]) == ([1.0], [5.0])


def test_a_dozen_groups_look_different(make_record, tmp_path):
    records = [make_record(0, target=0.5 + k / 100) for k in range(12)]
    text = svg_of(records, tmp_path / "a.svg", accuracy_only=True)
    assert "simple-cnn on mnist #12: 98.00 %" in text
    assert "converges to" not in text  # a dozen lines across would hide the curves
    looks = {tuple(look(k)[part] for part in ("color", "linestyle", "marker")) for k in range(56)}
    assert len(looks) == 56


def test_a_perfect_and_a_failed_run_can_be_drawn(make_record, tmp_path):
    records = [make_record(0, (1.0, 1.0)), make_record(0, (0.0, 0.0), name="cnn4-ce")]
    assert "converges to 100.00 %" in svg_of(records, tmp_path / "a.svg")
