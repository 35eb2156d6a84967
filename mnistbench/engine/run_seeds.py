"""The Python entrance to training: one call, any number of seeds, a record for each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Thread

import torch
from accelerate import Accelerator

from mnistbench.engine.data import place_data
from mnistbench.engine.diagnosis import diagnose
from mnistbench.engine.distributed import (
    check_precision,
    decide_together,
    exchange_errors,
    same_sigterm,
    shards_weights,
    start_accelerator,
)
from mnistbench.engine.interconnect import measure_interconnect
from mnistbench.engine.memory import memory_errors
from mnistbench.engine.process_settings import tuned
from mnistbench.engine.profiling import profiled_steps
from mnistbench.engine.recording import record_of
from mnistbench.engine.resume import Invocation, find_resume_point, new_invocation
from mnistbench.engine.run import Run
from mnistbench.engine.run_hooks import Watch, check_watching
from mnistbench.engine.stop_signals import deferred_signals, exit_now, stop_error
from mnistbench.engine.training_loop import Training
from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.environment import set_threads
from mnistbench.recorder.hooks import Hook
from mnistbench.recorder.telemetry import Telemeter
from mnistbench.schema.checkpoint import SavedRun
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.insight import StepCosts
from mnistbench.schema.record import RunRecord, Status
from mnistbench.schema.store import check_writable, save_record
from mnistbench.workload.models import build_model

__all__ = ["train"]

_log = logging.getLogger(__name__)
_LAST_WORDS_S = 1.0


def train(
    config: RunConfig,
    *,
    ledger: Ledger | None = None,
    show_progress: bool = False,
    hooks: Sequence[Hook] = (),
) -> list[RunRecord]:
    """Run `config` once for each of its seeds and leave a folder with a record for each.

    Args:
        config: what to run.
        ledger: a clock that already counts the start of the process; a new one by default.
        show_progress: draw a progress bar on stderr, where that is a terminal.
        hooks: are told of the moments of each run, on every process.

    Returns:
        The records, on every process; only the main process writes them to ``output_dir``.

    Raises:
        InputError: the input has to be mended; nothing was trained or written.
        RunError: the run could not go on (other processes lost, memory, the disk); what was done is
            on record.
        KeyboardInterrupt: a signal came; what was done until then is on record.
    """
    with same_sigterm(), exchange_errors():
        return _train(config, ledger or Ledger(), show_progress=show_progress, hooks=hooks)


def _train(
    config: RunConfig, ledger: Ledger, *, show_progress: bool, hooks: Sequence[Hook]
) -> list[RunRecord]:
    check_precision(config)
    with torch.device("meta"):
        build_model(config)  # a network that cannot be built is found before any work is done
    with ledger.phase("startup"):
        accelerator = start_accelerator(config)
        set_threads(config.num_threads)
    _check_here(config, accelerator)
    if accelerator.device.type != "cpu":
        ledger.synchronize = torch.accelerator.synchronize
    earlier = decide_together(accelerator, lambda: find_resume_point(config))
    if earlier:
        config = config.model_copy(update={"output_dir": str(earlier.folder)})
    decide_together(accelerator, lambda: check_writable(_output_dir(config)))
    telemeter = Telemeter(accelerator.device) if accelerator.is_main_process else None
    invocation = decide_together(accelerator, lambda: new_invocation(config))
    if earlier:
        invocation = Invocation(earlier.invocation, config)
    with ledger.phase("startup"):
        link = measure_interconnect(accelerator)
    with ledger.phase("data"):
        data = place_data(config, accelerator)
    scaler = accelerator.scaler and accelerator.scaler.state_dict()
    records: list[RunRecord] = []
    for seed in range(config.seed, config.seed + config.num_seeds):
        done = earlier.seeds.pop(seed, None) if earlier else None
        if isinstance(done, RunRecord):
            records.append(done)
            continue
        if scaler:
            accelerator.scaler.load_state_dict(scaler)  # no seed inherits another's loss scale
        one = config.model_copy(update={"seed": seed, "num_seeds": 1, "resume": None})
        run = Run(
            one, accelerator=accelerator, data=data, ledger=ledger, show_progress=show_progress
        )
        run.invocation, run.link, run.telemeter = invocation, link, telemeter
        with tuned(one), run.saver:
            records.append(_record(run, done, hooks))
        if len(records) < config.num_seeds and (asked := _asked_by_any(run)):
            saved = ", saved" if run.saver.counts.saved else ""
            raise stop_error(asked, f"after seed {seed}{saved} in {run.saver.run_folder}")
        accelerator.free_memory()
        ledger = Ledger(synchronize=ledger.synchronize)
    return records


def _check_here(config: RunConfig, accelerator: Accelerator) -> None:
    """Refuse what these machines or FSDP, where it shares weights out, do not give."""
    decide_together(accelerator, lambda: check_watching(config, accelerator))
    if accelerator.is_local_main_process:
        check_watching(config, accelerator)  # another machine has other libraries
    if not shards_weights(accelerator):
        return
    mend = "launch with MULTI_GPU, or leave it out"
    if config.checkpoint_every_steps or config.resume:
        name = "checkpoint_every_steps" if config.checkpoint_every_steps else "resume"
        raise InputError(f"{name}: weights that FSDP shares out cannot be saved; {mend}")
    if config.diagnose:
        raise InputError(f"diagnose: steps of a network that FSDP shares out are not told; {mend}")


def _record(run: Run, saved: SavedRun | None, hooks: Sequence[Hook]) -> RunRecord:
    """Prepare and train `run` to its end, whatever that is, and put it on record."""
    with ExitStack() as noted:  # until it is on record: a launcher may pass a signal on late
        try:
            with exchange_errors(), memory_errors(run.config, run.plan.global_batch_size):
                config, num_steps = run.config, run.plan.num_steps
                steps = decide_together(run.accelerator, lambda: profiled_steps(config, num_steps))
                run.prepare()
                run.watch = Watch.over(run, steps=steps, added=hooks)
                if saved:
                    run.resume(saved)
                stops = noted.enter_context(deferred_signals(partial(_give_up, run)))
                if run.accelerator.is_main_process:
                    _log.info(run.summary())
                status = Training(run, stops)()
                if config.diagnose and status == "completed" and not run.stop_signal:
                    run.step_costs = _diagnosis(run)
                wrong = run.what_is_wrong() if status == "diverged" else None
                record = record_of(run, status, error=wrong)
        except InputError:
            raise
        except BaseException as stop:
            if saved and not run.interruptions:
                raise  # it has not gone on yet, and its record stands
            stopped: Status = "interrupted" if isinstance(stop, KeyboardInterrupt) else "failed"
            said = f"{type(stop).__name__}: {stop}".rstrip(": ")
            _save(run, record_of(run, stopped, error=said))
            raise
        mismatch = run.ledger.check(record.wall_s)
        if mismatch:
            _log.warning(mismatch)
        record = _save(run, record)
        run.stop_signal = run.stop_signal or stops.asked  # one that came after the last look
        return record


def _diagnosis(run: Run) -> StepCosts | None:
    """`diagnose`, whose failure is no failure of a run that has ended well."""
    try:
        return diagnose(run)
    except Exception as error:
        if run.plan.num_processes > 1:
            raise  # the others would wait
        first, _, _ = (str(error).strip() or type(error).__name__).partition("\n")
        _log.warning(f"diagnose: not found out: {first}")
        return None


def _asked_by_any(run: Run) -> int:
    """The signal that was sent to any of the processes, the same answer on all; 0 for none."""
    mine = torch.tensor([run.stop_signal], device=run.accelerator.device)
    return int(run.accelerator.gather(mine).max())


def _give_up(run: Run, number: int) -> None:
    """End the process at signal `number` though its main thread does not come back."""
    said = f"ended at once by signal {number}: its step did not end in time"

    def put_on_record() -> None:
        _save(run, record_of(run, "interrupted", error=said, measured=False))

    last_words = Thread(target=put_on_record, daemon=True)  # the disk may be what is waited for
    last_words.start()
    last_words.join(_LAST_WORDS_S)
    exit_now(number)


def _save(run: Run, record: RunRecord) -> RunRecord:
    """Write `record` on the main process; where that fails, the run still counts and says so."""
    if run.accelerator.is_main_process:
        try:
            save_record(record, run.saver.run_folder)
        except InputError as error:
            _log.error(f"not saved: {error}")
            return record.model_copy(update={"error": f"not saved: {error}"})
    return record


def _output_dir(config: RunConfig) -> Path:
    return Path(config.output_dir).expanduser()
