"""Event lines as MLPerf's training benchmarks log them, so that MLPerf's tooling can read a run."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from mnistbench.recorder.clock import process_age_s
from mnistbench.recorder.hooks import Hook, RunView
from mnistbench.schema.component import is_reference, short_name
from mnistbench.schema.record import DatasetInfo
from mnistbench.schema.target import point_at_target

_log = logging.getLogger(__name__)

Interval = Literal["init", "run", "block", "epoch", "eval"]
"""What MLPerf's logs have a start and a stop of."""

Metadata = Mapping[str, float | str | None]

_NOTHING: Metadata = {}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a run is made on, as its record's ``environment`` has it.

    `precision` is of the coarsest numbers that were multiplied: ``fp32``, ``tf32``, ``bfloat16``,
    ``fp16`` or ``fp8``; `lr_peak` is scaled to the processes.
    """

    device_name: str
    num_processes: int
    precision: str
    lr_peak: float
    steps_per_epoch: int
    global_batch_size: int


class MlLog(Hook):
    """Writes ``:::MLLOG`` lines to ``mllog.txt`` in the run's folder, on the main process.

    Format and keys are those of MLPerf's ``mllog`` (github.com/mlcommons/logging, ruleset 6.1.0),
    whose parser reads the file. MNIST is no benchmark of MLPerf: this is for its tooling alone.

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
            seen, done = self._seen(watched), watched.step / self._setup.steps_per_epoch
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
            number, seen = watched.step // self._setup.steps_per_epoch + 1, self._seen(watched)
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
        seen, done = self._seen(watched), watched.step / self._setup.steps_per_epoch
        lines.stop("block", seen)
        if watched.step % self._setup.steps_per_epoch == 0:
            lines.stop("epoch", seen)
        lines.start("eval", {"epoch_num": done, **seen})
        yield
        point = watched.eval_points[-1]
        told: Metadata = {"epoch_num": done, **seen, "split": point.split}
        lines.point("eval_accuracy", point.accuracy, metadata=told)
        lines.stop("eval")
        if lines.is_open("epoch"):
            lines.start("block", {"first_epoch_num": int(done) + 1, **seen})

    def _described(self, watched: RunView) -> Metadata:
        """What is run, on what."""
        config, data, setup = watched.config, self._dataset, self._setup
        own = is_reference(config.optimizer)  # which may have another decay, or none
        decay = config.optimizer_args.get("weight_decay") if own else config.weight_decay
        per_device = -(-self._setup.global_batch_size // setup.num_processes)
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
            "global_batch_size": self._setup.global_batch_size,
            "micro_batch_size": -(-per_device // config.gradient_accumulation_steps),
            "gradient_accumulation_steps": config.gradient_accumulation_steps,
            "max_steps": watched.num_steps,
            "opt_name": short_name(config.optimizer),
            "opt_base_learning_rate": setup.lr_peak,
            "opt_learning_rate_decay_schedule": short_name(config.lr_schedule),
            "opt_learning_rate_warmup_steps": config.lr_warmup_steps,
            **({} if decay is None else {"opt_weight_decay": decay}),
            "lowest_numerical_precision_in_linear": setup.precision,
            **{f"{kind}_parallelism": 1 for kind in ("tensor", "pipeline", "context", "expert")},
        }

    def _seen(self, watched: RunView) -> Mapping[str, int]:
        """Samples trained on up to now; the last step of an epoch may have fewer."""
        epochs, steps = divmod(watched.step, self._setup.steps_per_epoch)
        num_train = self._dataset.num_train
        seen = epochs * num_train + min(steps * self._setup.global_batch_size, num_train)
        return {"samples_count": seen}


def _started_ms(watched: RunView) -> int:
    """When the process or, for a later seed, the run began; what was before in its life."""
    age_s = watched.ledger.wall_s()
    if watched.step:  # of a run that goes on, the ledger counts earlier lives as well
        age_s = min(age_s, process_age_s())
    return _now_ms() - round(age_s * 1000)


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
    if config.target is None:
        return watched.step == watched.num_steps
    return point_at_target(points, config.target) is not None


class MlLogWriter:
    """A log on the disk, each line as soon as it is known; times never go back.

    A file that cannot be written is given up, in one warning.

    `last_ms` is the time of the last line [milliseconds since 1970].
    """

    def __init__(self, folder: Path) -> None:
        """In `folder`: ``mllog.txt``, or the first of ``mllog-2.txt`` … that is not there."""
        self.last_ms = 0
        self._open: dict[Interval, Metadata] = {}
        self._file: FileIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lives = (f"mllog-{life}.txt" for life in itertools.count(2))
            names = itertools.chain(["mllog.txt"], lives)
            path = next(folder / name for name in names if not (folder / name).exists())
            # without a buffer: a line is on its way, or is known not to be
            self._file = FileIO(path, "x")
        except OSError as error:
            self._give_up(error)

    def is_open(self, interval: Interval) -> bool:
        """Whether `interval` was started and not stopped."""
        return interval in self._open

    def start(
        self, interval: Interval, metadata: Metadata = _NOTHING, *, time_ms: int | None = None
    ) -> None:
        """Start `interval`, at `time_ms` or now, unless it is under way."""
        if interval not in self._open:
            self._open[interval] = metadata
            self._write("INTERVAL_START", f"{interval}_start", metadata=metadata, time_ms=time_ms)

    def stop(
        self, interval: Interval, metadata: Metadata = _NOTHING, *, time_ms: int | None = None
    ) -> None:
        """Stop `interval` if it is under way; `metadata` goes over what it was started with."""
        if (begun := self._open.pop(interval, None)) is not None:
            told = {**begun, **metadata}
            self._write("INTERVAL_END", f"{interval}_stop", metadata=told, time_ms=time_ms)

    def point(self, key: str, value: float | str | None, *, metadata: Metadata = _NOTHING) -> None:
        """Note the `value` of `key`."""
        self._write("POINT_IN_TIME", key, value=value, metadata=metadata)

    def close(self) -> None:
        """End the file; what comes after is not written."""
        if self._file:
            self._file.close()
        self._file = None

    def _write(
        self,
        event_type: str,
        key: str,
        *,
        metadata: Metadata,
        value: float | str | None = None,
        time_ms: int | None = None,
    ) -> None:
        if self._file is None:
            return
        self.last_ms = max(self.last_ms, _now_ms() if time_ms is None else time_ms)
        teller = sys._getframe(2)  # noqa: SLF001 - who called the method that called this one
        file = teller.f_globals["__name__"].replace(".", "/") + ".py"
        event = {
            "namespace": "",
            "time_ms": self.last_ms,
            "event_type": event_type,
            "key": key,
            "value": value,
            "metadata": {"file": file, "lineno": teller.f_lineno, **metadata},
        }
        try:
            self._file.write(f":::MLLOG {json.dumps(event, allow_nan=False)}\n".encode())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.close()
        _log.warning(f"mllog: {error.strerror}; the run goes on without its event lines")


def _now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
