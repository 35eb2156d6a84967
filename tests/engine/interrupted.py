"""Runs in this process that are interrupted, and what is compared of those that went on."""

import signal
from pathlib import Path

from mnistbench.engine.run_seeds import train
from mnistbench.engine.training_loop import TrainingLoop
from mnistbench.schema.checkpoint import checkpoints_of, load_checkpoint

LATEST = {"resume": "latest"}


def interrupt(monkeypatch, config, *, at_step):
    """Run `config` until SIGINT comes in `at_step`, or the first after; the run must end by it."""
    plain, sent = TrainingLoop._show_step, []

    def step(self, number):
        if number >= at_step and not sent:
            sent.append(signal.raise_signal(signal.SIGINT))
        plain(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_show_step", step)
        try:
            train(config)
        except KeyboardInterrupt as stop:
            return str(stop)
    raise AssertionError("the run was not interrupted")


def bits(record):
    """All that must not depend on interruptions: losses, evaluations, results."""
    points = [(p.step, p.split, p.loss, p.accuracy, p.num_samples) for p in record.eval_points]
    result = record.result.model_dump(exclude={"time_to_accuracy_s"})
    return points, [(p.step, p.loss) for p in record.train_points], result, record.num_steps


def end_of(folder, record):
    """The tensors of the last checkpoint of `record`'s run."""
    saved = load_checkpoint(checkpoints_of(Path(folder) / record.run_id)[-1])
    assert saved.state.step == record.num_steps
    return saved.files["model.safetensors"], saved.files["optimizer.safetensors"]
