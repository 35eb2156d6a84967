"""Event lines as MLPerf's training benchmarks log them, so that MLPerf's tooling can read a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from mnistbench.recorder.clock import process_age_s
from mnistbench.recorder.hooks import Hook, RunView
from mnistbench.recorder.mllog_writer import MlLogWriter, now_ms
from mnistbench.schema.record import DatasetInfo

__all__ = ["MlLog", "Setup"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a run is made on, as its record's ``environment`` has it.

    Attributes:
        device_name: the model of one device.
        num_processes: how many train, each on a device.
        precision: the coarsest numbers that were multiplied: ``fp32``, ``tf32``, ``bfloat16``,
            ``fp16`` or ``fp8``.
        lr_peak: learning rate at the schedule's peak, scaled to the processes.
    """

    device_name: str
    num_processes: int
    precision: str
    lr_peak: float


class MlLog(Hook):
    """Writes ``:::MLLOG`` lines to ``mllog.txt`` in the run's folder, on the main process.

    Format and keys are those of MLPerf's ``mllog`` (github.com/mlcommons/logging, ruleset 6.1.0),
    whose parser reads the file. MNIST is no benchmark of MLPerf: this is for its tooling, not for a
    submission, and its compliance checker knows no benchmark of such a name.

    ``init`` is from the start of the process, or for a later seed of its run, to the first step;
    ``run`` is from there to the end of the last evaluation, ``block`` what is trained between two
    evaluations. `epoch_num` counts from 1, and of an evaluation is the epochs done; `samples_count`
    is the samples trained on so far. A run that was stopped and goes on begins ``mllog-2.txt`` and
    so on: each log is of one life. Without its log, where that cannot be written, the run goes on.
    """

    def __init__(self, dataset: DatasetInfo, setup: Setup) -> None:
        """For runs on `dataset` and `setup`, one after the other."""
        self._dataset, self._setup = dataset, setup
        self._lines: MlLogWriter | None = None

    @contextmanager
    def run(self, watched: RunView) -> Iterator[None]:
        """A log: what is run, then what happens, then how it ended."""
        if not watched.is_main_process:
            yield
            return
        self._lines = lines = MlLogWriter(watched.run_folder)
        succeeded = False
        try:
            lines.start("init", time_ms=_started_ms(watched))
            for key, value in self._described(watched).items():
                lines.point(key, value)
            yield
            succeeded = _succeeded(watched)
        finally:
            _begin(lines)  # it may have had nothing to train
            seen, done = self._seen(watched), watched.step / watched.steps_per_epoch
            lines.stop("block", seen)
            told = {"status": "success" if succeeded else "aborted", "epoch_num": done, **seen}
            # a run that got there ended when its last evaluation did
            lines.stop("run", told, time_ms=lines.last_ms if succeeded else None)
            lines.close()
            self._lines = None

    @contextmanager
    def epoch(self, watched: RunView) -> Iterator[None]:
        """``epoch``, and ``block`` where none is under way."""
        if lines := self._lines:
            _begin(lines)
            number, seen = watched.step // watched.steps_per_epoch + 1, self._seen(watched)
            lines.start("block", {"first_epoch_num": number, **seen})
            lines.start("epoch", {"epoch_num": number, **seen})
        yield
        if lines:
            lines.stop("epoch", self._seen(watched))  # unless an evaluation was at its end

    @contextmanager
    def eval(self, watched: RunView) -> Iterator[None]:
        """``eval`` with its ``eval_accuracy``, outside blocks and, at their end, epochs."""
        if not (lines := self._lines):
            yield
            return
        seen, done = self._seen(watched), watched.step / watched.steps_per_epoch
        lines.stop("block", seen)
        if watched.step % watched.steps_per_epoch == 0:
            lines.stop("epoch", seen)
        lines.start("eval", {"epoch_num": done, **seen})
        yield
        point = watched.eval_points[-1]
        told = {"epoch_num": done, **seen, "split": point.split}
        lines.point("eval_accuracy", point.accuracy, metadata=told)
        lines.stop("eval")
        if lines.is_open("epoch"):
            lines.start("block", {"first_epoch_num": int(done) + 1, **seen})

    def _described(self, watched: RunView) -> dict[str, float | str]:
        """What is run, on what."""
        config, data, setup = watched.config, self._dataset, self._setup
        per_device = -(-watched.global_batch_size // setup.num_processes)
        return {
            "cache_clear": False,
            "submission_benchmark": data.name,
            "submission_org": "mnistbench",
            "submission_division": "open",
            "submission_status": "research",
            "submission_platform": f"{setup.num_processes}x {setup.device_name}",
            "config_filename": "record.json",
            "seed": config.seed,
            "train_samples": data.num_train,
            "eval_samples": data.num_val if config.eval_split == "val" else data.num_test,
            "global_batch_size": watched.global_batch_size,
            "micro_batch_size": -(-per_device // config.gradient_accumulation_steps),
            "gradient_accumulation_steps": config.gradient_accumulation_steps,
            "max_steps": watched.num_steps,
            "opt_name": config.optimizer,
            "opt_base_learning_rate": setup.lr_peak,
            "opt_learning_rate_decay_schedule": config.lr_schedule,
            "opt_learning_rate_warmup_steps": config.lr_warmup_steps,
            "opt_weight_decay": config.weight_decay,
            "lowest_numerical_precision_in_linear": setup.precision,
            "tensor_parallelism": 1,
            "pipeline_parallelism": 1,
            "context_parallelism": 1,
            "expert_parallelism": 1,
        }

    def _seen(self, watched: RunView) -> Mapping[str, int]:
        """Samples trained on up to now; the last step of an epoch may have fewer."""
        epochs, steps = divmod(watched.step, watched.steps_per_epoch)
        num_train = self._dataset.num_train
        seen = epochs * num_train + min(steps * watched.global_batch_size, num_train)
        return {"samples_count": seen}


def _started_ms(watched: RunView) -> int:
    """When the process or, for a later seed, the run began; what was before in its life."""
    age_s = watched.ledger.wall_s()
    if watched.step:  # of a run that goes on, the ledger counts earlier lives as well
        age_s = min(age_s, process_age_s())
    return now_ms() - round(age_s * 1000)


def _begin(lines: MlLogWriter) -> None:
    """End the start where training begins."""
    if lines.is_open("init"):
        lines.stop("init")
        lines.start("run")


def _succeeded(watched: RunView) -> bool:
    """Whether the run got to its target, or without one to its end, with a loss that is finite."""
    config, points = watched.config, watched.eval_points
    if not points or points[-1].step != watched.step or points[-1].loss is None:
        return False
    if config.target_accuracy is None:
        return watched.step == watched.num_steps
    steering = [p for p in points if p.split == config.eval_split and p.loss is not None]
    return any(point.accuracy >= config.target_accuracy for point in steering)
