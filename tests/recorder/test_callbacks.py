"""Trainers' events, called as the libraries call them; test_your_loop.py has real ones."""

import sys
from types import SimpleNamespace

import pytest
import torch

import mnistbench
from mnistbench.recorder.callbacks import LightningEvents, TrainerEvents
from mnistbench.schema.errors import InputError

ARGS = SimpleNamespace(n_gpu=0, save_strategy="steps")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv("MNISTBENCH_OUTPUT_DIR", raising=False)
    with mnistbench.record("loop", output_dir=tmp_path, target={"f1": 0.5}) as run:
        yield run


def events_of(kind, run, monkeypatch):
    """The callback, but of no library's class."""
    monkeypatch.setattr(kind, "bases", ("builtins.object",))
    make = run.trainer_callback if kind is TrainerEvents else run.lightning_callback
    return make()


class HuggingFace:
    """What the Trainer does with a callback, step by step."""

    def __init__(self, callback):
        self.callback = callback
        self.model = torch.nn.Linear(3, 2)
        self.state = SimpleNamespace(epoch=0.0)
        self.control = SimpleNamespace(should_evaluate=False, should_save=False, should_log=False)

    def tell(self, event, **more):
        told = {"model": self.model} | more
        getattr(self.callback, event)(ARGS, self.state, self.control, **told)

    def step(self, *sizes, calls=1, then=()):
        self.tell("on_step_begin")
        for number, size in enumerate(sizes, start=1):
            for _ in range(calls):
                self.model(torch.zeros(size, 3))
            self.tell("on_substep_end") if number < len(sizes) else None
        self.state.epoch += 0.25
        for flag in then:
            setattr(self.control, flag, True)
        self.tell("on_step_end")

    def evaluate(self, metrics, prefix="eval"):
        self.model.eval()
        self.model(torch.zeros(500, 3))
        self.tell("on_prediction_step")
        self.model.train()
        spent = {f"{prefix}_runtime": 1.0, f"{prefix}_samples_per_second": 9.0, "epoch": 1.0}
        self.tell("on_log")
        self.control.should_evaluate = False
        named = {f"{prefix}_{name}": value for name, value in metrics.items()}
        self.tell("on_evaluate", metrics=named | spent)


def test_a_step_of_the_trainer_is_an_update_and_samples_are_those_of_its_batches(run, monkeypatch):
    trainer = HuggingFace(events_of(TrainerEvents, run, monkeypatch))
    trainer.tell("on_train_begin")
    trainer.evaluate({"loss": 9.0})  # before training: a check, no result
    trainer.tell("on_epoch_begin")
    trainer.step(8, 8)
    trainer.step(8, 5, calls=2, then=["should_log", "should_evaluate", "should_save"])
    trainer.evaluate({"loss": 0.7, "f1": 0.4, "per_class": [1.0, 2.0]})
    trainer.control.should_save = False
    trainer.tell("on_save")
    trainer.step(4)
    trainer.evaluate({"loss": 0.6, "f1": 0.6}, prefix="eval_hard")  # which no flag announced
    trainer.tell("on_train_end")
    trainer.evaluate({"loss": 0.5}, prefix="test")
    trainer.evaluate({"loss": 0.4}, prefix="test")  # once more at the same step
    assert not trainer.model._forward_pre_hooks
    found = [(p.step, p.samples_seen, p.split, p.loss, p.metrics, p.epoch) for p in run.eval_points]
    assert found == [
        (2, 29, "val", 0.7, {"f1": 0.4}, 0.5),
        (3, 33, "hard", 0.6, {"f1": 0.6}, 0.75),
        (3, 33, "test", 0.5, {}, 0.75),
    ]
    assert all(run.ledger.spent_s(phase) > 0 for phase in ("eval", "checkpoint", "data_wait"))
    assert run.ledger.switch("other") == "other"  # nothing is left open


def test_replicas_that_share_a_batch_are_added_up(run, monkeypatch):
    trainer = HuggingFace(events_of(TrainerEvents, run, monkeypatch))
    monkeypatch.setattr(ARGS, "n_gpu", 2)
    trainer.tell("on_train_begin")
    trainer.step(8, calls=2)
    trainer.evaluate({"f1": 0.4})
    assert run.eval_points[0].samples_seen == 16


def test_a_step_of_lightning_ends_where_the_weights_were_updated(run, monkeypatch):
    callback = events_of(LightningEvents, run, monkeypatch)
    saved = []
    trainer = SimpleNamespace(
        global_step=0, current_epoch=1, num_training_batches=4, testing=False, callback_metrics={}
    )

    class Trainer(SimpleNamespace):
        def save_checkpoint(self, path):
            saved.append((path, run.ledger.switch("checkpoint")))

    trainer = Trainer(**vars(trainer))
    callback.on_validation_start(trainer, None)
    trainer.callback_metrics["val_loss"] = torch.tensor(3.0)
    callback.on_validation_end(trainer, None)  # the sanity check
    callback.on_train_start(trainer, None)
    for index, size in enumerate([8, 8, 5]):
        batch = {"points": torch.zeros(size, 3)}
        callback.on_train_batch_start(trainer, None, batch, index)
        trainer.global_step += index > 0
        trainer.callback_metrics["train_loss"] = torch.tensor(1.0)
        callback.on_train_batch_end(trainer, None, None, batch, index)
    callback.on_validation_start(trainer, None)
    trainer.callback_metrics |= {"val_loss": torch.tensor(0.5), "valid/f1": torch.tensor(0.6)}
    callback.on_validation_end(trainer, None)
    trainer.save_checkpoint("here")
    callback.on_train_end(trainer, None)
    assert saved == [("here", "checkpoint")]
    assert "save_checkpoint" not in vars(trainer)
    (point,) = run.eval_points
    assert (point.step, point.samples_seen, point.split, point.epoch) == (2, 21, "val", 1.75)
    assert point.loss == 0.5
    assert point.metrics == {"f1": pytest.approx(0.6)}
    assert run.ledger.switch("other") == "other"


@pytest.mark.parametrize("name", ["trainer", "lightning"])
def test_a_library_that_is_not_there_is_named(run, monkeypatch, name):
    missing = {"trainer": "transformers", "lightning": "lightning.pytorch"}[name]
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=f"^{missing}: cannot be imported"):
        getattr(run, f"{name}_callback")()


def test_samples_of_other_batches_are_told(run, monkeypatch):
    monkeypatch.setattr(LightningEvents, "bases", ("builtins.object",))
    callback = run.lightning_callback(num_samples=lambda batch: batch["count"])
    trainer = SimpleNamespace(
        global_step=0, save_checkpoint=None, num_training_batches=float("inf"), current_epoch=0
    )
    callback.on_train_start(trainer, None)
    callback.on_train_batch_start(trainer, None, {"count": 7}, 0)
    trainer.global_step = 1
    callback.on_train_batch_end(trainer, None, None, None, 0)
    callback.on_train_end(trainer, None)
    assert run.evaluated(f1=0.5).samples_seen == 7
