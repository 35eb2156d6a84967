"""One of Accelerate's trackers: how each is started, and calls that end in time."""

from __future__ import annotations

import os
import socket
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import redirect_stdout
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from mnistbench.recorder.hooks import RunView
from mnistbench.schema.errors import first_line
from mnistbench.schema.names import TrackerName

PROJECT = "mnistbench"
"""What runs are found under in every tracker that has projects."""

_LONGEST = 160

_Call = Callable[[GeneralTracker], object]


class OneTracker:
    """A tracker of one run, whose calls are all made in one thread of its own.

    So none is waited for for ever: with its server gone, a library may try again for minutes. Nor
    does it ask a question or print among results: stdin is empty and stdout is stderr meanwhile.
    Each call gives what went wrong in one short line, ``None`` if nothing did; `patience_s` is the
    longest that it takes [seconds].
    """

    def __init__(self, name: TrackerName, watched: RunView) -> None:
        """For the run `watched`; nothing is started, and the library is not imported."""
        self.name: TrackerName = name
        self._arguments = _arguments(name, watched)
        self._is_nameless = watched.config.anonymize
        self._calls: SimpleQueue[tuple[Future[None], _Call] | None] = SimpleQueue()
        Thread(target=self._serve, name=f"{name} tracker", daemon=True).start()

    def call(self, made: _Call, *, patience_s: float) -> str | None:
        """Make a call of Accelerate's tracker."""
        future: Future[None] = Future()
        stdin, host = sys.stdin, socket.gethostname
        try:
            with Path(os.devnull).open(encoding="utf-8") as sys.stdin, redirect_stdout(sys.stderr):
                if self._is_nameless:  # TensorBoard would have it in names of files
                    socket.gethostname = lambda: "host"
                self._calls.put((future, made))
                future.result(patience_s)
        except Exception as error:
            return _said(error)
        finally:
            sys.stdin, socket.gethostname = stdin, host
        return None

    def finish(self, *, patience_s: float) -> str | None:
        """End the run, as far as it has begun; nothing can be called after."""
        wrong = self.call(lambda tracker: tracker.finish(), patience_s=patience_s)
        self._calls.put(None)
        return wrong

    def _serve(self) -> None:
        tracker: GeneralTracker | None = None
        for future, made in iter(self._calls.get, None):
            try:
                tracker = tracker or LOGGER_TYPE_TO_CLASS[self.name](**self._arguments)
                made(tracker)
            except Exception as error:
                future.set_exception(error)
            except BaseException as error:  # a library that would end the process
                future.set_exception(RuntimeError(repr(error)))
            else:
                future.set_result(None)


def _said(error: Exception) -> str:
    """What a library says is wrong, in one short line."""
    if isinstance(error, TimeoutError) and not str(error):
        return "it does not answer"
    said = textwrap.shorten(first_line(error), _LONGEST, placeholder=" …").rstrip(".")
    return said or type(error).__name__


def _arguments(name: TrackerName, watched: RunView) -> dict[str, Any]:
    """What a tracker's class in Accelerate is made with.

    Scalars only: nothing is gathered of the machine, the code or what is printed, which would take
    time from the run. wandb and trackio go on in the run where one of that name was stopped.
    """
    run_id, folder, anonymize = watched.run_id, watched.run_folder, watched.config.anonymize
    in_project: dict[TrackerName, dict[str, Any]] = {
        "tensorboard": {"run_name": "tensorboard", "logging_dir": str(folder)},
        "wandb": {"run_name": PROJECT, "name": run_id, "id": run_id, "resume": "allow"}
        | {"dir": str(folder), "settings": _wandb_settings(anonymize=anonymize)},
        "trackio": {"run_name": PROJECT, "name": run_id, "resume": "allow"}
        | _off("embed", "auto_log_gpu", "auto_log_cpu"),
        "mlflow": {"experiment_name": PROJECT, "run_name": run_id}
        | {"tags": _MLFLOW_NOBODY if anonymize else None},
        "comet_ml": {"run_name": PROJECT},
        "aim": {"run_name": run_id, "logging_dir": str(folder.parent), "experiment": PROJECT}
        | {"system_tracking_interval": None}
        | _off("log_system_params", "capture_terminal_logs"),
        "clearml": {"run_name": PROJECT, "task_name": run_id}
        | _off(*(f"auto_connect_{what}" for what in ("arg_parser", "frameworks", "streams")))
        | _off("auto_resource_monitoring"),
        "dvclive": {"dir": str(folder / "dvclive"), "save_dvc_exp": False},
        "swanlab": {"run_name": PROJECT, "experiment_name": run_id},
    }
    return in_project[name]


_MLFLOW_NOBODY = {"mlflow.user": "anonymous", "mlflow.source.name": PROJECT}


def _off(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, False)


def _wandb_settings(*, anonymize: bool) -> dict[str, Any]:
    scalars_only = {"console": "off", "disable_code": True, "x_disable_stats": True}
    scalars_only |= _off("save_code", "x_save_requirements")
    # of itself it would wait for its server without end
    scalars_only |= {"init_timeout": 60.0, "finish_timeout": 20.0}
    nameless = {"x_disable_meta": True, "x_disable_machine_info": True, "disable_git": True}
    return scalars_only | (nameless if anonymize else {})
