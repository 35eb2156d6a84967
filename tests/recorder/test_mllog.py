"""MLPerf's event lines: what a run leaves, and what MLPerf's own tools make of it."""

import json
import re
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.engine.run_seeds import train
from mnistbench.recorder import mllog
from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.hooks import Hook
from mnistbench.recorder.mllog import MlLog, MlLogWriter, Setup
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import DatasetInfo, EvalPoint
from tests.engine.poisoned_train import poison

DATA = DatasetInfo(
    name="mnist", source="local", sha256="0", num_train=300, num_val=100, num_test=1000
)
SETUP = Setup(
    device_name="Some CPU",
    num_processes=2,
    precision="fp32",
    lr_peak=0.02,
    steps_per_epoch=5,
    global_batch_size=64,
)


def events(folder, name="mllog.txt"):
    lines = (Path(folder) / name).read_text().splitlines()
    assert all(line.startswith(":::MLLOG ") for line in lines)
    return [json.loads(line.removeprefix(":::MLLOG ")) for line in lines]


def keys(found):
    """The keys of what happens, without what the run is."""
    return [event["key"] for event in found if re.search(r"_(start|stop|accuracy)$", event["key"])]


def one(found, key):
    (event,) = [event for event in found if event["key"] == key]
    return event


@pytest.fixture
def logged(small_config, tmp_path):
    """Makes a run with event lines; gives its record and its events."""

    def run(**values):
        (record,) = train(small_config(mllog=True, model="linear", **values), ledger=Ledger())
        return record, events(tmp_path / "runs" / record.run_id)

    return run


def test_a_run_leaves_what_it_did_in_order(logged):
    record, found = logged(num_epochs=2)
    epoch = ["epoch_start", "block_stop", "epoch_stop", "eval_start", "eval_accuracy", "eval_stop"]
    assert keys(found) == [
        *("init_start", "init_stop", "run_start", "block_start", *epoch),
        *("block_start", *epoch),
        *("eval_start", "eval_accuracy", "eval_stop", "run_stop"),
    ]
    accuracies = [event for event in found if event["key"] == "eval_accuracy"]
    assert [
        (event["value"], event["metadata"]["samples_count"], event["metadata"]["split"])
        for event in accuracies
    ] == [(point.accuracy, point.samples_seen, point.split) for point in record.eval_points]
    assert (
        one(found, "run_stop")["metadata"].items() >= {"status": "success", "epoch_num": 2}.items()
    )
    times = [event["time_ms"] for event in found]
    assert times == sorted(times)
    from_init_s = (times[-1] - times[0]) / 1000
    assert record.phases_s["data"] <= from_init_s + 0.01
    assert from_init_s <= record.wall_s + 0.01


def test_what_is_run_is_told(logged):
    _, found = logged(lr=0.25, global_batch_size=60, gradient_accumulation_steps=2)
    told = {e["key"]: e["value"] for e in found if e["event_type"] == "POINT_IN_TIME"}
    assert (
        told.items()
        >= {
            "submission_benchmark": "synthetic",
            "seed": 0,
            "train_samples": 300,
            "eval_samples": 100,
            "global_batch_size": 60,
            "micro_batch_size": 30,
            "gradient_accumulation_steps": 2,
            "opt_name": "sgd",
            "opt_base_learning_rate": 0.25,
            "lowest_numerical_precision_in_linear": "fp32",
        }.items()
    )


def test_blocks_are_cut_by_evaluations_and_epochs_are_not(logged):
    _, found = logged(num_epochs=2, eval_every_steps=4)
    assert keys(found)[3:-4] == [
        *("block_start", "epoch_start"),
        *("block_stop", "eval_start", "eval_accuracy", "eval_stop", "block_start"),
        *("epoch_stop", "epoch_start"),
        *("block_stop", "eval_start", "eval_accuracy", "eval_stop", "block_start"),
        *("block_stop", "epoch_stop", "eval_start", "eval_accuracy", "eval_stop"),
    ]
    stops = [event for event in found if event["key"] == "block_stop"]
    assert [event["metadata"]["samples_count"] for event in stops] == [256, 492, 600]


@pytest.mark.parametrize(
    ("target", "status"), [(None, "success"), (0.01, "success"), (1.0, "aborted")]
)
def test_success_is_the_target_where_there_is_one(logged, target, status):
    _, found = logged(target_accuracy=target, stop_at_target=target is not None)
    assert one(found, "run_stop")["metadata"]["status"] == status


def test_a_run_that_diverges_is_aborted(logged, monkeypatch):
    poison(step=3, patch=monkeypatch.setattr)
    record, found = logged(target_accuracy=0.01)
    assert record.status == "diverged"
    assert one(found, "run_stop")["metadata"]["status"] == "aborted"


class Interrupting(Hook):
    def eval(self, watched):
        raise KeyboardInterrupt


def test_a_run_that_is_interrupted_is_aborted(small_config, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(small_config(mllog=True, model="linear"), hooks=[Interrupting()])
    (folder,) = (tmp_path / "runs").iterdir()
    found = events(folder)
    assert keys(found)[-1] == "run_stop"
    assert found[-1]["metadata"]["status"] == "aborted"


def watched(folder, *, step=0, is_main_process=True, **values):
    return SimpleNamespace(
        config=RunConfig(**values),
        ledger=Ledger(age_s=5.0),
        step=step,
        eval_points=[],
        run_folder=folder,
        num_steps=10,
        steps_per_epoch=5,
        global_batch_size=64,
        is_main_process=is_main_process,
    )


def live(log, run, *, to):
    """What a run that goes on to step `to`, the end of an epoch, tells its hook."""
    with log.run(run), log.epoch(run):
        run.step = to
        with log.eval(run):
            point = {"epoch": to / 5, "samples_seen": to * 60, "train_s": 1.0, "loss": 0.5}
            run.eval_points.append(EvalPoint(step=to, split="val", accuracy=0.9, **point))


def test_a_run_that_goes_on_begins_a_log_of_its_own(tmp_path):
    log = MlLog(DATA, SETUP)
    live(log, watched(tmp_path), to=5)
    before = (tmp_path / "mllog.txt").read_text()
    live(log, watched(tmp_path, step=5), to=10)
    live(log, watched(tmp_path, step=5), to=10)
    assert (tmp_path / "mllog.txt").read_text() == before
    first, second, third = (events(tmp_path, f"mllog{n}.txt") for n in ("", "-2", "-3"))
    assert first[-1]["metadata"]["status"] == "aborted"
    for later in (second, third):
        assert keys(later)[:4] == ["init_start", "init_stop", "run_start", "block_start"]
        assert one(later, "epoch_start")["metadata"]["epoch_num"] == 2
        assert one(later, "block_start")["metadata"]["samples_count"] == 300
        assert later[-1]["metadata"]["status"] == "success"
    assert one(first, "submission_platform")["value"] == "2x Some CPU"
    assert one(first, "micro_batch_size")["value"] == 32


def test_the_start_is_the_process_s_and_not_that_of_an_earlier_life(tmp_path, monkeypatch):
    monkeypatch.setattr("mnistbench.recorder.mllog.process_age_s", lambda: 2.0)
    for step, age_s in ((0, 5), (5, 2)):
        run = watched(tmp_path / str(step), step=step)
        live(MlLog(DATA, SETUP), run, to=step + 5)
        found = events(run.run_folder)
        init_s = (one(found, "init_stop")["time_ms"] - one(found, "init_start")["time_ms"]) / 1000
        assert age_s <= init_s + 0.01
        assert init_s < age_s + 1


def test_a_run_with_nothing_left_to_train_is_a_whole_log(tmp_path):
    with MlLog(DATA, SETUP).run(watched(tmp_path, step=10)):
        pass
    assert keys(events(tmp_path)) == ["init_start", "init_stop", "run_start", "run_stop"]


def test_the_main_process_alone_writes(tmp_path):
    live(MlLog(DATA, SETUP), watched(tmp_path, is_main_process=False), to=10)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_one_warning(tmp_path, caplog):
    (tmp_path / "file").touch()
    live(MlLog(DATA, SETUP), watched(tmp_path / "file"), to=10)
    (said,) = caplog.messages
    assert said.startswith("mllog: ")
    assert said.endswith("; the run goes on without its event lines")


def test_a_disk_that_fills_up_is_one_warning(tmp_path, caplog):
    lines = MlLogWriter(tmp_path)
    lines.close()
    lines._file = FileIO("/dev/full", "w")
    for _ in range(3):
        lines.point("seed", 1)
    lines.close()
    assert caplog.messages == [
        "mllog: No space left on device; the run goes on without its event lines"
    ]


INTERVALS = st.sampled_from(["init", "run", "block", "epoch", "eval"])
ANY = st.one_of(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.integers())
CALLS = st.one_of(
    st.tuples(st.sampled_from(["start", "stop"]), INTERVALS, st.dictionaries(st.text(), ANY)),
    st.tuples(st.just("point"), st.text(), ANY),
)


@given(calls=st.lists(CALLS), times=st.lists(st.integers(0, 2**53), min_size=1))
def test_any_events_are_lines_whose_intervals_and_times_make_sense(tmp_path_factory, calls, times):
    folder = tmp_path_factory.mktemp("lines")
    moments = iter(times * (len(calls) + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mllog, "_now_ms", lambda: next(moments))  # clocks are set back, too
        lines = MlLogWriter(folder)
        for name, key, value in calls:
            getattr(lines, name)(key, value)
        lines.close()
    found, running = events(folder), set()
    for event in found:
        if event["event_type"] == "POINT_IN_TIME":
            continue
        name, _, what = event["key"].rpartition("_")
        assert (name in running) == (what == "stop")
        running ^= {name}
    assert [event["time_ms"] for event in found] == sorted(event["time_ms"] for event in found)
    assert sum(name == "point" for name, _, _ in calls) == sum(
        event["event_type"] == "POINT_IN_TIME" for event in found
    )


def test_mlperf_s_parser_reads_a_run(logged, tmp_path):
    parser = pytest.importorskip("mlperf_logging.compliance_checker.mlp_parser")
    constants = pytest.importorskip("mlperf_logging.mllog.constants")
    record, found = logged(num_epochs=2, eval_every_steps=3)
    lines, errors = parser.parse_file(tmp_path / "runs" / record.run_id / "mllog.txt", "6.1.0")
    assert errors == []
    assert [line.key for line in lines] == [event["key"] for event in found]
    known = {value for value in vars(constants).values() if isinstance(value, str)}
    assert {line.key for line in lines} <= known


def test_mlperf_s_checker_misses_only_what_this_is_not(logged, tmp_path):
    checker = pytest.importorskip("mlperf_logging.compliance_checker.mlp_compliance")
    record, _ = logged(num_epochs=2)
    path = tmp_path / "runs" / record.run_id / "mllog.txt"
    lines, _ = checker.mlp_parser.parse_file(path, "6.1.0")
    rules = Path(checker.__file__).parent / "training_6.1.0"
    said = {}
    for name in ("common.yaml", "open_common.yaml"):
        check = checker.make_checker("training", "6.1.0", quiet=False, werror=True)
        check.configured_checks(lines, rules / name)
        assert check.not_overwritable == []
        said |= check.overwritable
    assert set(said) == {
        "submission_benchmark",  # MNIST is none
        "lowest_numerical_precision_in_attn",  # no network has attention
        "lowest_numerical_precision_in_comm",
    }
