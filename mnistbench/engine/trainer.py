"""The Python entrance to training: one call, any number of seeds, a record for each."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from mnistbench.engine.data import place_data
from mnistbench.engine.distributed import (
    check_precision,
    decide_together,
    exchange_errors,
    same_sigterm,
    start_accelerator,
)
from mnistbench.engine.link import measure_link
from mnistbench.engine.recording import record_of
from mnistbench.engine.run import Run
from mnistbench.engine.tuning import tuned
from mnistbench.instruments.clock import Ledger
from mnistbench.instruments.environment import set_threads
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord, Status
from mnistbench.schema.store import check_writable, save_record
from mnistbench.workload.models import build_model

__all__ = ["train"]

_log = logging.getLogger(__name__)


def train(
    config: RunConfig,
    *,
    ledger: Ledger | None = None,
    show_progress: bool = False,
) -> list[RunRecord]:
    """Run `config` once for each of its seeds and leave a folder with a record for each.

    Args:
        config: what to run.
        ledger: a clock that already counts the start of the process; a new one by default.
        show_progress: draw a progress bar on stderr, where that is a terminal.

    Returns:
        The records, on every process; only the main process writes them to ``output_dir``.

    Raises:
        InputError: the input has to be mended; nothing was trained or written.
        ProcessLostError: other processes did not come, or were lost; what was done is on record.
        KeyboardInterrupt: a signal came; what was done until then is on record.
    """
    with same_sigterm(), exchange_errors():
        return _train(config, ledger or Ledger(), show_progress=show_progress)


def _train(config: RunConfig, ledger: Ledger, *, show_progress: bool) -> list[RunRecord]:
    check_precision(config)
    with torch.device("meta"):
        build_model(config)  # a network that cannot be built is found before any work is done
    with ledger.phase("startup"):
        accelerator = start_accelerator(config)
        set_threads(config.num_threads)
    if accelerator.device.type != "cpu":
        ledger.synchronize = torch.accelerator.synchronize
    decide_together(accelerator, lambda: check_writable(_output_dir(config)))
    with ledger.phase("startup"):
        link = measure_link(accelerator)
    with ledger.phase("data"):
        data = place_data(config, accelerator)
    scaler = accelerator.scaler and accelerator.scaler.state_dict()
    records = []
    for seed in range(config.seed, config.seed + config.num_seeds):
        if scaler:
            accelerator.scaler.load_state_dict(scaler)  # no seed inherits another's loss scale
        one = config.model_copy(update={"seed": seed, "num_seeds": 1})
        run = Run(
            one, accelerator=accelerator, data=data, ledger=ledger, show_progress=show_progress
        )
        run.link = link
        with tuned(one):
            records.append(_record(run))
        accelerator.free_memory()
        ledger = Ledger(synchronize=ledger.synchronize)
    return records


def _record(run: Run) -> RunRecord:
    """Prepare and train `run` to its end, whatever that is, and put it on record."""
    try:
        with exchange_errors():
            run.prepare()
            if run.accelerator.is_main_process:
                _log.info(run.summary())
            status = run.train()
            error = "a loss was not finite" if status == "diverged" else None
            record = record_of(run, status, error=error)
    except InputError:
        raise
    except BaseException as stop:
        stopped: Status = "interrupted" if isinstance(stop, KeyboardInterrupt) else "failed"
        _save(run, record_of(run, stopped, error=f"{type(stop).__name__}: {stop}".rstrip(": ")))
        raise
    mismatch = run.ledger.check(record.wall_s)
    if mismatch:
        _log.warning(mismatch)
    return _save(run, record)


def _save(run: Run, record: RunRecord) -> RunRecord:
    """Write `record` on the main process; where that fails, the run still counts and says so."""
    if run.accelerator.is_main_process:
        try:
            save_record(record, _output_dir(run.config) / record.run_id)
        except InputError as error:
            _log.error(f"not saved: {error}")
            return record.model_copy(update={"error": f"not saved: {error}"})
    return record


def _output_dir(config: RunConfig) -> Path:
    return Path(config.output_dir).expanduser()
