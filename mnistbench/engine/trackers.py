"""Trackers: scalars of each evaluation to TensorBoard, wandb, MLflow and others, by Accelerate."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, get_available_trackers

from mnistbench.engine.distributed import decide_together
from mnistbench.engine.one_tracker import OneTracker
from mnistbench.recorder.hooks import Hook, RunView
from mnistbench.recorder.redaction import values_redacted
from mnistbench.schema.component import flat_arguments
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.names import TrackerName
from mnistbench.schema.target import point_at_target

_log = logging.getLogger(__name__)

_START_S = 120.0
_CALL_S = 30.0
_LAST_CALL_S = 2.0
"""Where a signal or an error ends the run: its record is not written before."""

_Value = bool | int | float | str

_MENDS: Mapping[TrackerName, str] = {
    "wandb": "run `wandb login`, or set WANDB_MODE=offline",
    "mlflow": "see what MLFLOW_TRACKING_URI names",
    "comet_ml": "set COMET_API_KEY",
    "clearml": "run `clearml-init`, or set CLEARML_OFFLINE_MODE=1",
    "swanlab": "run `swanlab login`, or set SWANLAB_MODE=local",
}


def check_trackers(config: RunConfig) -> None:
    """Check that the libraries of ``config.log_with`` are installed; none is imported.

    Raises:
        InputError: one is not; says how to install it.
    """
    installed = {str(tracker) for tracker in get_available_trackers()}
    for name in config.log_with:
        if name not in installed:
            raise InputError(
                f"log_with: {name} is not installed; pip install {name}, or leave it out"
            )


class Trackers(Hook):
    """Sends the scalars of each evaluation to the trackers of ``config.log_with``.

    These are ``<split>/accuracy`` and ``<split>/loss`` (one that is not finite is left out),
    ``epoch``, ``train_s`` on the train clock and ``samples_per_s`` so far, at the step of the
    evaluation; at the end ``result/test_accuracy`` and, where there is a target and it was reached,
    ``result/time_to_accuracy_s``. Nothing is sent from within a window of steps. The configuration
    goes along as scalars.

    Each run is one of the tracker's, called as its folder is, in the project ``mnistbench``; the
    main process alone talks to it. Nobody is asked to log in: without it a tracker works offline or
    the run does not begin. One that fails later, or does not answer in time, is left out from then
    on, with one warning.
    """

    _proven: ClassVar[set[TrackerName]] = set()
    """What has started in this process: where it does not for a later seed, nothing is to mend."""

    def __init__(self, config: RunConfig, accelerator: Accelerator) -> None:
        """`config` names the trackers; every process has this hook."""
        self._names = tuple(dict.fromkeys(config.log_with))
        self._accelerator = accelerator
        # the others wait for this process, and it for one after the other
        longest_s = config.process_timeout_s / (2 * max(len(self._names), 1))
        self._call_s, self._start_s = min(_CALL_S, longest_s), min(_START_S, longest_s)
        self._running: list[OneTracker] = []

    @contextmanager
    def run(self, watched: RunView) -> Iterator[None]:
        """One run of each tracker; `InputError` where one cannot be started."""
        decide_together(self._accelerator, lambda: self._start(watched))
        try:
            yield
        except BaseException:
            self._finish(_LAST_CALL_S)
            raise
        self._send(_results(watched), watched.step)
        self._finish(self._call_s)

    @contextmanager
    def eval(self, watched: RunView) -> Iterator[None]:
        """Sends its result."""
        yield
        if watched.is_main_process:
            self._send(_scalars(watched), watched.step)

    def _start(self, watched: RunView) -> None:
        folder = watched.run_folder
        is_new = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)  # or wandb goes elsewhere
            for name in self._names:
                self._start_one(OneTracker(name, watched), self._described(watched))
        except (InputError, OSError) as error:
            while self._running:
                self._running.pop().finish(patience_s=_LAST_CALL_S)
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)  # nothing was run
            raise InputError(str(error)) from None

    def _start_one(self, tracker: OneTracker, described: dict[str, _Value]) -> None:
        def start(started: GeneralTracker) -> None:
            started.start()
            started.store_init_configuration(described)

        self._running.append(tracker)
        wrong = tracker.call(start, patience_s=self._start_s)
        if wrong and tracker.name not in self._proven:
            mend = _MENDS.get(tracker.name, "leave it out")
            raise InputError(f"log_with: {tracker.name} does not start: {wrong}; {mend}")
        if wrong:
            self._leave_out(tracker, wrong)
        self._proven.add(tracker.name)

    def _described(self, watched: RunView) -> dict[str, _Value]:
        """The configuration and what it came to here, as the scalars that all trackers take."""
        private = {"data_dir", "output_dir"} if watched.config.anonymize else None
        values = watched.config.model_dump(mode="json", exclude_none=True, exclude=private)
        values = flat_arguments(values_redacted(values) if private else values)
        told = {
            name: ",".join(map(str, its)) if isinstance(its, list) else its
            for name, its in values.items()
            if its is not None
        }
        told |= {name: str(its) for name, its in told.items() if isinstance(its, dict)}
        return told | {
            "global_batch_size": watched.global_batch_size,
            "mixed_precision": self._accelerator.mixed_precision,
            "num_processes": self._accelerator.num_processes,
            "device_type": self._accelerator.device.type,
        }

    def _send(self, values: Mapping[str, float], step: int) -> None:
        def log(tracker: GeneralTracker) -> None:
            tracker.log(dict(values), step=step)

        for tracker in list(self._running):
            if wrong := tracker.call(log, patience_s=self._call_s):
                self._leave_out(tracker, wrong)

    def _leave_out(self, tracker: OneTracker, wrong: str) -> None:
        """Go on without `tracker`, whose run is not held open: the next seed has one of its own."""
        self._running.remove(tracker)
        _log.warning(f"log_with: the run goes on without {tracker.name}: {wrong}")
        tracker.finish(patience_s=_LAST_CALL_S)

    def _finish(self, patience_s: float) -> None:
        while self._running:
            tracker = self._running.pop()
            if wrong := tracker.finish(patience_s=patience_s):
                _log.warning(f"log_with: {tracker.name} may not have all of the run: {wrong}")


def _scalars(watched: RunView) -> dict[str, float]:
    """What is sent of the last evaluation."""
    point = watched.eval_points[-1]
    values: dict[str, float | None] = {
        f"{point.split}/accuracy": point.accuracy,
        f"{point.split}/loss": point.loss,
        "epoch": point.epoch,
        "train_s": point.train_s,
        "samples_per_s": point.samples_seen / point.train_s if point.train_s else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _results(watched: RunView) -> dict[str, float]:
    """What is sent at the end."""
    target, points = watched.config.target, watched.eval_points
    found = {f"result/{p.split}_accuracy": p.accuracy for p in points if p.split == "test"}
    if target and (reached := point_at_target(points, target)):
        found["result/time_to_accuracy_s"] = reached.train_s
    return {name: value for name, value in found.items() if value is not None}
