"""A run from its configuration to its record, in this process."""

import json
import shutil
from contextlib import contextmanager

import pytest
import torch

from mnistbench.engine.run_seeds import train
from mnistbench.recorder.hooks import Hook
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import PHASES
from mnistbench.schema.store import find_records, load_record


def losses(record):
    return [point.loss for point in record.train_points]


def test_the_record_is_what_was_returned_and_complete(small_config, tmp_path):
    config = small_config(model="simple-cnn", target_accuracy=0.05)
    (record,) = train(config)
    (path,) = find_records([tmp_path / "runs"])
    assert load_record(path) == record
    assert path.parent.name == record.run_id
    assert record.num_parameters == 8490
    assert (record.num_steps, record.num_epochs) == (5, 1.0)
    assert record.environment["num_processes"] == 1
    assert record.environment["num_threads"] == 1
    assert record.environment["world_size"] == 1
    assert set(record.phases_s) == set(PHASES)
    assert record.phases_s["train"] > 0
    assert sum(record.phases_s.values()) == pytest.approx(record.wall_s, rel=0.01)
    throughput = record.throughput
    assert throughput.samples_per_s == pytest.approx(300 / record.phases_s["train"])
    assert throughput.step_s_p50 <= throughput.step_s_p95 <= record.phases_s["train"]
    assert record.result.steps_to_accuracy == 5
    assert record.result.time_to_accuracy_s == record.eval_points[0].train_s


def test_val_steers_and_test_is_read_once_at_the_end(small_config):
    (record,) = train(small_config(num_epochs=3))
    assert [point.split for point in record.eval_points] == ["val", "val", "val", "test"]
    assert record.result.val_accuracy == record.eval_points[2].accuracy
    assert record.result.test_accuracy == record.eval_points[3].accuracy
    assert (record.dataset.num_train, record.dataset.num_val) == (300, 100)


def test_a_published_protocol_reads_test_each_epoch(small_config):
    (record,) = train(small_config(num_epochs=2, val_size=0, eval_split="test"))
    assert [point.split for point in record.eval_points] == ["test", "test"]
    assert record.result.val_accuracy is None
    assert record.dataset.num_train == 400


def test_evaluations_come_every_so_many_steps_and_at_the_end(small_config):
    (record,) = train(small_config(num_epochs=3, eval_every_steps=4, max_steps=10))
    assert [point.step for point in record.eval_points] == [4, 8, 10, 10]
    assert [point.samples_seen for point in record.eval_points] == [256, 492, 600, 600]
    assert record.eval_points[1].epoch == pytest.approx(8 / 5)
    clock = [point.train_s for point in record.eval_points]
    assert clock == sorted(clock)


def test_a_run_can_stop_at_its_target(small_config):
    (record,) = train(small_config(num_epochs=50, target_accuracy=0.05, stop_at_target=True))
    assert record.num_steps == 5
    assert record.status == "completed"


def test_the_same_seed_is_the_same_run_and_another_is_not(small_config, one_thread):
    values = {"model": "cnn", "dropout": 0.3, "augment": ("shift", "rotate")}
    first, second = (train(small_config(**values))[0] for _ in range(2))
    other = train(small_config(**values, seed=1))[0]
    assert losses(first) == losses(second)
    assert first.result == second.result
    assert losses(first) != losses(other)


def test_seeds_follow_each_other_and_each_is_that_seeds_own_run(small_config, one_thread):
    records = train(small_config(seed=3, num_seeds=3))
    assert [record.seed for record in records] == [3, 4, 5]
    assert len({record.run_id for record in records}) == 3
    assert losses(records[2]) == losses(train(small_config(seed=5))[0])
    assert records[1].phases_s["data"] == 0  # loaded once
    for record in records:
        assert sum(record.phases_s.values()) == pytest.approx(record.wall_s, rel=0.01)


def test_loaders_give_the_same_losses(small_config, one_thread, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    resident, *others = (
        train(small_config(loader=loader, num_epochs=2))[0]
        for loader in ("resident", "streaming", "mapped")
    )
    for record in others:
        assert losses(record) == losses(resident)
        assert record.result == resident.result
        assert record.dataset == resident.dataset


def test_precision_is_the_flags_and_on_record(small_config):
    exact, coarse = (
        train(small_config(model="simple-cnn", mixed_precision=precision))[0]
        for precision in ("no", "bf16")
    )
    assert exact.environment["mixed_precision"] == "no"
    assert coarse.environment["mixed_precision"] == "bf16"
    assert losses(exact) != losses(coarse)
    torch.testing.assert_close(
        torch.tensor(losses(exact)), torch.tensor(losses(coarse)), rtol=0.05, atol=0.05
    )


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(small_config):
    (record,) = train(
        small_config(model="dnn4", loss="mse", lr=1e4, num_epochs=9, target_accuracy=0.05)
    )
    assert record.status == "diverged"
    assert record.num_steps < 45
    assert record.eval_points == []  # what it had become was not worth one
    assert record.error.startswith("the loss or a weight was not finite at step ")
    assert record.result.time_to_accuracy_s is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"mixed_precision": "fp16"}, "fp16 does not run on the CPU"),
        ({"model": "cnn", "kernel_size": 64, "padding": "valid"}, "convolution 1"),
        ({"dataset": "mnist", "data_dir": "."}, "mnist is not in"),
        # 60,000 images would have held this batch; the generated set that stands in does not
        ({"dataset": "auto", "data_dir": ".", "global_batch_size": 301}, "larger than the train"),
        ({"output_dir": __file__}, "is not a folder"),
    ],
)
def test_what_cannot_run_is_refused_and_writes_nothing(
    small_config, tmp_path, monkeypatch, values, says
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(InputError, match=says) as error:
        train(small_config(**values))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_on_record_and_raised(small_config, tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("no more")

    monkeypatch.setattr("mnistbench.engine.evaluation.Evaluator.__call__", fail)
    with pytest.raises(RuntimeError, match="no more"):
        train(small_config())
    (path,) = find_records([tmp_path / "runs"])
    record = json.loads(path.read_text())
    assert record["status"] == "failed"
    assert record["error"] == "RuntimeError: no more"
    assert record["num_steps"] == 5


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiling_changes_speed_not_losses(small_config):
    eager, compiled = (
        train(small_config(model="linear", loop="stock", compile=choice))[0]
        for choice in (False, True)
    )
    torch.testing.assert_close(
        torch.tensor(losses(compiled)), torch.tensor(losses(eager)), rtol=1e-4, atol=1e-4
    )
    assert compiled.phases_s["compile"] > eager.phases_s["compile"]


@pytest.mark.parametrize("becomes", ["a file", "a record of another run"])
def test_a_record_has_a_second_place(small_config, tmp_path, monkeypatch, caplog, becomes):
    class Replace(Hook):
        """Puts something else in the place of the run's folder."""

        @contextmanager
        def run(self, watched):
            yield
            place = watched.run_folder
            place.parent.mkdir(exist_ok=True)
            if becomes != "a file":
                place.mkdir()
                place /= "record.json"
            place.write_text("mine")

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    [record] = train(small_config(), hooks=[Replace()])
    (second,) = find_records([tmp_path / "temporary"])
    assert record.error.startswith("not saved: ")
    assert record.error.endswith(f"; it is in {second}")
    assert record.error in caplog.text
    assert second.parent.parent.stat().st_mode & 0o077 == 0
    assert load_record(second) == record.model_copy(update={"error": None})
