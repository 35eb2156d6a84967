"""Pictures: real files with the curves in them."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest

from mnistbench.output.charts.curves import lines_of
from mnistbench.output.page.page import save_pictures
from mnistbench.output.plots import curves_figure, plot_curves
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import save_record
from tests import warm_commands


def test_png_and_svg_are_written(make_record, tmp_path):
    records = [make_record(seed) for seed in range(3)] + [make_record(name="cnn4-ce")]
    plot_curves(records, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    plot_curves(records, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own file
    for expected in (
        "simple-cnn on mnist (n = 3) ends at 98.00 %",
        "cnn4-ce on mnist ends at 98.00 %",
    ):
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


def areas(text):
    """The bands of a picture: all that is not opaque."""
    return text.count("opacity: 0.18")


def test_three_seeds_have_a_band_around_their_median_and_two_have_none(make_record, tmp_path):
    curves = [(0.90 + seed / 100, 0.95, 0.98) for seed in range(3)]
    three = [make_record(seed, curve) for seed, curve in enumerate(curves)]
    assert areas(svg_of(three, tmp_path / "a.svg")) == 2
    assert areas(svg_of(three, tmp_path / "b.svg", accuracy_only=True)) == 1
    assert areas(svg_of(three[:2], tmp_path / "c.svg")) == 0


def test_the_loss_is_left_out_on_request(make_record, tmp_path):
    assert "training loss" in svg_of([make_record()], tmp_path / "a.svg")
    text = svg_of([make_record()], tmp_path / "b.svg", accuracy_only=True)
    assert "training loss" not in text
    assert "test accuracy (%)" in text


def test_runs_with_other_evaluations_are_drawn_apart(make_record, tmp_path):
    records = [make_record(0), make_record(1), make_record(2, (0.9, 0.95))]
    text = svg_of(records, tmp_path / "a.svg", accuracy_only=True)
    assert areas(text) == 0
    assert text.count("simple-cnn on mnist (n = 3)") == 1


def test_runs_with_some_evaluations_in_common_have_a_median_of_those():
    def median_of(curves):
        return [(line.xs, line.ys) for line in lines_of(curves, points=100)]

    dense = [([0.1, 0.2, 1.0, 2.0], [5.0, 6.0, 8.0, 9.0]), ([0.1, 1.0, 1.5, 2.0], [5.0, 6, 7, 7])]
    assert median_of(dense) == [([0.1, 1.0, 2.0], [5.0, 7.0, 8.0])]
    stopped = [*dense, ([0.1, 1.0], [1.0, 2.0])]
    assert median_of(stopped) == stopped  # as far as all went would hide their ends
    apart = [([1.0], [5.0]), ([0.5, 1.0], [5.0, 6.0])]
    assert median_of(apart) == apart


def test_a_line_of_many_points_is_thinned_and_keeps_its_ends():
    (line,) = lines_of([(list(range(1001)), [float(x * x) for x in range(1001)])], points=50)
    assert len(line.xs) == 50
    assert (line.xs[0], line.xs[-1], line.ys[-1]) == (0, 1000, 1e6)


def test_a_dozen_groups_are_named(make_record, tmp_path):
    records = [make_record(0, target=0.5 + k / 100) for k in range(12)]
    text = svg_of(records, tmp_path / "a.svg", accuracy_only=True)
    assert "simple-cnn, target_accuracy 0.61 on mnist ends at 98.00 %" in text


def test_the_figure_can_be_had_without_a_file(make_record):
    figure = curves_figure([make_record()])
    assert figure.get_size_inches()[0] == 7
    assert "training loss" in [text.get_text() for text in figure.axes[0].texts]
    with pytest.raises(InputError, match="no run with an evaluation"):
        curves_figure([make_record(eval_points=[])])


def test_a_perfect_and_a_failed_run_can_be_drawn(make_record, tmp_path):
    records = [make_record(0, (1.0, 1.0)), make_record(0, (0.0, 0.0), name="cnn4-ce")]
    assert "ends at 100.00 %" in svg_of(records, tmp_path / "a.svg")


HOSTILE = {
    "font.size": 40, "axes.facecolor": "black", "savefig.dpi": 30, "savefig.bbox": "tight",
    "savefig.transparent": True, "figure.facecolor": "red", "svg.fonttype": "none",
    "text.parse_math": True, "lines.linewidth": 9, "path.sketch": (1, 100, 2), "axes.grid": True,
}  # fmt: skip
BACKENDS = ("module://matplotlib_inline.backend_inline", "garbage")


def pictures(records, folder):
    for name in ("a.png", "a.svg"):
        plot_curves(records, folder / name)
    save_pictures(records, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_the_users_own_settings_change_no_picture(make_record, tmp_path):
    records = [make_record(seed) for seed in range(2)]
    (tmp_path / "plain").mkdir()
    plain = pictures(records, tmp_path / "plain")
    (tmp_path / "hostile").mkdir()
    with mpl.rc_context(HOSTILE):
        before = dict(mpl.rcParams)
        assert pictures(records, tmp_path / "hostile") == plain
        assert dict(mpl.rcParams) == before


@pytest.mark.processes
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_or_matplotlibrc_that_is_not_there_for_us_is_no_error(
    backend, make_record, tmp_path
):
    save_record(make_record(), tmp_path / "runs")
    (tmp_path / "matplotlibrc").write_text(
        "font.size: 40\nbackend: nowhere\nnonsense: 1\nlines: x\n"
    )
    code = "from mnistbench.report import main; main(['runs', '--plot', 'a.svg'])"
    told = {"MPLBACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    with warm_commands.cold():
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | told,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0
    assert "mnistbench: plot written to a.svg (" in done.stderr
    told = done.stderr.splitlines()  # by nobody else; progress too, where it takes long
    assert all(line.startswith("mnistbench: ") for line in told)
    plot_curves([make_record()], tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.processes
def test_the_backend_is_left_to_whoever_draws_later_in_the_process():
    code = (
        "from mnistbench.output.charts.style import plain_matplotlib\n"
        "with plain_matplotlib(): pass\n"
        "import os, matplotlib; print(matplotlib.rcParams['backend'], os.environ['MPLBACKEND'])"
    )
    told = {"MPLBACKEND": "svg", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=os.environ | told) == b"svg svg\n"
