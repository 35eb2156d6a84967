"""The trackers' own libraries, as far as they are installed: what they have of a run."""

import pytest

from mnistbench.engine.run_seeds import train
from tests.processes import SMALL_FLAGS

SCALARS = {"epoch", "samples_per_s", "train_s", "val/accuracy", "val/loss"}


def read_back(folder):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulators.EventAccumulator(str(folder))
    read.Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


def test_tensorboard_has_the_scalars_of_each_evaluation_of_each_seed(small_config, tmp_path):
    pytest.importorskip("tensorboard")
    config = small_config(num_epochs=2, num_seeds=2, log_with=("tensorboard",), augment=("shift",))
    for record in train(config):
        read = read_back(tmp_path / "runs" / record.run_id / "tensorboard")
        assert set(read) == SCALARS | {"test/accuracy", "test/loss", "result/test_accuracy"}
        for point in record.eval_points:
            assert (point.step, pytest.approx(point.accuracy)) in read[f"{point.split}/accuracy"]
            assert (point.step, pytest.approx(point.loss)) in read[f"{point.split}/loss"]
            assert (point.step, pytest.approx(point.train_s)) in read["train_s"]
        assert [step for step, _ in read["val/accuracy"]] == [5, 10]
        assert read["result/test_accuracy"] == [(10, pytest.approx(record.result.test_accuracy))]
        assert record.profile is None  # a tracker is not at steps
        assert record.phases_s["profile"] > 0


@pytest.mark.parametrize(
    ("name", "variables", "left"),
    [
        ("wandb", {"WANDB_MODE": "offline"}, "runs/*/wandb/offline-run-*/*.wandb"),
        ("trackio", {"TRACKIO_DIR": "{0}/trackio"}, "trackio/mnistbench.db"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:///{0}/mlflow.db"}, "mlflow.db"),
    ],
)
@pytest.mark.filterwarnings("default")  # of theirs
def test_others_work_offline_where_they_are_installed(
    small_config, tmp_path, monkeypatch, name, variables, left
):
    monkeypatch.chdir(tmp_path)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value.format(tmp_path))
    for module in (name, *(["sqlalchemy"] if name == "mlflow" else [])):
        pytest.importorskip(module)
    records = train(small_config(num_seeds=2, log_with=(name,)))
    assert [record.status for record in records] == ["completed"] * 2
    files = list(tmp_path.glob(left))
    assert len(files) == (2 if name == "wandb" else 1)
    assert all(path.stat().st_size > 0 for path in files)


def test_a_run_that_is_watched_is_the_same_run(small_config):
    pytest.importorskip("tensorboard")
    curves = []
    for log_with in ((), ("tensorboard",)):
        config = small_config(model="mlp", dropout=0.5, num_epochs=2, log_with=log_with)
        (record,) = train(config)
        points = [(point.step, point.loss, point.accuracy) for point in record.eval_points]
        curves.append((points, [point.loss for point in record.train_points]))
    assert curves[0] == curves[1]


@pytest.mark.processes
def test_two_processes_log_once(launch, tmp_path):
    pytest.importorskip("tensorboard")
    flags = ("--log-with", "tensorboard", "--mllog", "--num-epochs", "1")
    done, (record,) = launch(*SMALL_FLAGS, *flags, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / record.run_id
    assert len(list((folder / "tensorboard").glob("events.*"))) == 1
    assert len(read_back(folder / "tensorboard")["val/accuracy"]) == 1
    text = (folder / "mllog.txt").read_text()
    assert text.count('"run_start"') == text.count('"run_stop"') == 1
    assert '"submission_platform", "value": "2x ' in text
