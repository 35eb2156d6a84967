"""The door to reports, asked for scaling."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mnistbench import report as door
from mnistbench.schema.store import record_json, save_record
from tests.made_sweep import make_run, make_sweep

ODD = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "\ud800", [1], {}])
NUMBERS = st.floats(1e-15, 1e15) | st.sampled_from([0.0, 1e-15, 1e-3, 1e3, 1e15])
PARTS = ("compute_s", "communication_s", "wait_s", "skew_s")


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep's folder, in which the door is opened."""
    monkeypatch.chdir(tmp_path)
    for record in make_sweep():
        save_record(record, tmp_path / "sweep" / "cells" / record.run_id)


@pytest.mark.usefixtures("sweep")
def test_a_sweep_becomes_a_scaling_report(capsys):
    assert door.main(["scaling", "sweep", "--target-accuracy", "0.97", "--fit-on", "1,2"]) == 0
    text = capsys.readouterr().out
    assert "simple-cnn on mnist: at best " in text
    assert "the model's samples/s are off by: where fitted (1, 2 processes) " in text
    door.main(["scaling", "sweep", "--format", "json"])
    (report,) = json.loads(capsys.readouterr().out)
    assert report["forecast"][0]["num_processes"] == 4


@pytest.mark.usefixtures("sweep")
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (
            ["--target-accuracy", "0.97"],
            "--target-accuracy: is a flag of `mnistbench report scaling`",
        ),
        (["--fit-on", "1"], "--fit-on: is a flag of `mnistbench report scaling`"),
        (["--scaling", "--target-accuracy", "97"], "(got 97); use a fraction: 0.97"),
        (["--scaling", "--fit-on", "1", "8"], "--fit-on: no run is of 8 processes"),
        (["--scaling", "--hold-out-slowest-link"], "hold-out-slowest-link"),
        (["--scaling", "--rules"], "--rules: cannot go with --scaling; leave one out"),
        (["--scaling", "--per-run"], "--per-run: is a flag of `mnistbench report`"),
        (["--scaling", "--targets", "0.9"], "--scaling: cannot go with --targets"),
    ],
)
def test_bad_input_is_one_line(argv, says, capsys):
    with pytest.raises(SystemExit) as stop:
        door.main(["sweep", *argv])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.startswith("mnistbench: error: ")
    assert says in err
    assert err.count("\n") == 1


@pytest.fixture
def folder(tmp_path_factory):
    """A sweep without a doubt, beside which a record of odd shape will lie."""
    root = tmp_path_factory.mktemp("odd")
    for record in make_sweep(processes=(1, 2), seeds=[0, 1]):
        save_record(record, root / "sweep" / record.run_id)
    (root / "odd").mkdir()
    return root


def assert_reported_or_refused(folder, capsys, values):
    (folder / "odd" / "record.json").write_text(json.dumps(values))
    try:
        status = door.main(["scaling", str(folder), "--format", "json"])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status in {0, 2}
    left_out = "could not be read and is left out" in err
    assert err.count("\n") == (status == 2) + left_out
    assert bool(out) == (status == 0)


@pytest.mark.slow
@given(
    key=st.sampled_from(
        [("environment", key) for key in make_run(1, 64, 0).environment]
        + [("environment", "num_machines"), ("environment", "measured_alone")]
        + [("config", key) for key in ("lr_scaling", "per_device_batch_size", "stop_at_target")]
    ),
    value=ODD,
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_odd_value_is_reported_or_refused_in_one_line(folder, capsys, key, value):
    values = json.loads(record_json(make_run(2, 64, 7)))
    values[key[0]][key[1]] = value
    assert_reported_or_refused(folder, capsys, values)


@pytest.mark.slow
@given(
    speed=NUMBERS,
    parts=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    link=st.tuples(NUMBERS, NUMBERS),
    step=st.integers(0, 10**9),
)
@example(speed=1e15, parts=(0.0,) * 4, link=(0.0, 1e15), step=0)
@example(speed=1e-15, parts=(1e15,) * 4, link=(1e15, 1e-15), step=1)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_figures_are_reported_or_refused_in_one_line(folder, capsys, speed, parts, link, step):
    values = json.loads(record_json(make_run(2, 64, 7)))
    split = dict(zip(PARTS, parts, strict=True)) | {"slowest_process": 0}
    values["throughput"] = {"samples_per_s": speed, "step_split": split}
    values["link"] = {"latency_s": link[0], "bandwidth_bytes_per_s": link[1]}
    for point in values["eval_points"]:
        point["step"] = step
    assert_reported_or_refused(folder, capsys, values)
