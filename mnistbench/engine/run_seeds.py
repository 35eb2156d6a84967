"""Training from Python: one call, any number of seeds, a record for each."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch
from accelerate import Accelerator

from mnistbench.analysis.stability import code_text
from mnistbench.engine.build import build_parts
from mnistbench.engine.checkpoint import restore
from mnistbench.engine.checkpoint_writer import CheckpointWriter
from mnistbench.engine.distributed import decide_together
from mnistbench.engine.exact_parity import differs_by_process
from mnistbench.engine.memory import memory_errors
from mnistbench.engine.observed import coarsest_precision
from mnistbench.engine.process_group import check_group
from mnistbench.engine.process_loss import end_unanswered, exchange_errors
from mnistbench.engine.process_settings import applied
from mnistbench.engine.recording import put_on_record_at_once, record_of, save
from mnistbench.engine.resume import check_same
from mnistbench.engine.run import (
    BuiltParts,
    Guards,
    Run,
    RunContext,
    Setting,
    TrainingOutcome,
    TrainingState,
)
from mnistbench.engine.run_hooks import build_hooks
from mnistbench.engine.setting import run_context, start_setting
from mnistbench.engine.training_loop import TrainingLoop
from mnistbench.engine.watchdog import Watchdog
from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.code_identity import running_code
from mnistbench.recorder.hooks import Hook, checked_hooks
from mnistbench.recorder.loop_settings import as_told
from mnistbench.recorder.own_code import keep_code
from mnistbench.recorder.profiling import Profilers, profiled_steps
from mnistbench.recorder.stop_signals import deferred_signals, exit_now, obeyed_in_time
from mnistbench.recorder.used_device import step_timer
from mnistbench.schema.checkpoint import SavedRun
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_applies
from mnistbench.schema.errors import InputError, SaidElsewhereError, first_line
from mnistbench.schema.insight import StepCosts
from mnistbench.schema.record import RunRecord
from mnistbench.schema.signals import kept_reactions, stop_error
from mnistbench.schema.streams import PASSING
from mnistbench.workload.recipes import over_recipe

_log = logging.getLogger(__name__)
running_code()  # as it is imported here: on disk it may change before a run begins


def measure(config: RunConfig, *, hooks: Sequence[Hook] = ()) -> list[RunRecord]:
    """Train `config` once for each of its seeds, as the command ``mnistbench train`` does.

    Values that `config` was not made with are those of its recipe, where it names one.

    Args:
        config: what to run; ``num_seeds`` is how many times, ``output_dir`` where to.
        hooks: are told of the moments of each run, on every process.

    Returns:
        A record for each seed, which lies in a folder of its own in ``output_dir`` as well.

    Raises:
        InputError: one line on what has to be mended, such as a value that nothing reads.
        RunError, KeyboardInterrupt: as `train`.
    """
    if not isinstance(config, RunConfig):
        raise InputError(f"measure: takes a RunConfig(…), not {type(config).__name__}")
    hooks = checked_hooks(hooks)
    given = {name: getattr(config, name) for name in config.model_fields_set}
    usual = RunConfig(**over_recipe({"recipe": config.recipe}))
    config = as_told(RunConfig(**over_recipe(given)))
    check_applies({k: v for k, v in given.items() if v != getattr(usual, k)}, config)
    return train(config, hooks=hooks)


def train(
    config: RunConfig,
    *,
    ledger: Ledger | None = None,
    show_progress: bool = False,
    hooks: Sequence[Hook] = (),
) -> list[RunRecord]:
    """Run `config` as it is, complete, once for each seed; leave a folder with a record for each.

    `ledger` is a clock that already counts the start of the process. `show_progress` draws a bar on
    stderr, where that is a terminal. The records are given on every process, and written by the
    main one.

    Raises:
        InputError: the input has to be mended; nothing was trained or written.
        RunError: the run could not go on (other processes lost, memory, the disk); what was done is
            on record.
        KeyboardInterrupt: a signal came; what was done until then is on record.
    """
    with kept_reactions(), obeyed_in_time(exit_now), exchange_errors(), ExitStack() as held:
        ledger = ledger or Ledger()
        setting = start_setting(config, ledger, held=held)
        setting = replace(setting, hooks=hooks, show_progress=show_progress)
        group = check_group(setting.accelerator, timeout_s=config.process_timeout_s)
        with Watchdog(group.watchdog_s, end_unanswered) as watchdog, watchdog.armed():
            return _run_seeds(setting, ledger, watchdog)


def _run_seeds(setting: Setting, ledger: Ledger, watchdog: Watchdog) -> list[RunRecord]:
    """A record for each seed: of those that have ended already, and of those that are run."""
    config, accelerator = setting.config, setting.accelerator
    scaler = accelerator.scaler and accelerator.scaler.state_dict()
    records: list[RunRecord] = []
    for seed in range(config.seed, config.seed + config.num_seeds):
        done = setting.found.get(seed)
        if isinstance(done, RunRecord):
            records.append(done)
            continue
        if scaler:
            accelerator.scaler.load_state_dict(scaler)  # no seed inherits another's loss scale
        context = run_context(setting, seed=seed, saved=done)
        record, asked = _run(context, ledger, watchdog)
        records.append(record)
        if len(records) < config.num_seeds and (asked := _asked_by_any(accelerator, asked)):
            saved = ", saved" if record.checkpoints and record.checkpoints.saved else ""
            raise stop_error(asked, f"after seed {seed}{saved} in {context.run_folder}")
        accelerator.free_memory()
        ledger = Ledger(synchronize=ledger.synchronize)
    return records


def _run(context: RunContext, ledger: Ledger, watchdog: Watchdog) -> tuple[RunRecord, int]:
    """Build and train to the end, whatever that is, and put it on record.

    Gives the record, and the number of a signal that came meanwhile, or 0.
    """
    config, accelerator, outcome = context.config, context.accelerator, TrainingOutcome()
    state = TrainingState(
        ledger=ledger,
        # on the device, written without a wait
        losses=torch.zeros(context.batch_plan.num_steps, device=accelerator.device),
        timer=step_timer(accelerator.device),
        exchange_timer=step_timer(accelerator.device) if context.plan.exchange_has_time else None,
    )
    go_on = config.on_checkpoint_error == "continue"
    writer = CheckpointWriter(context.run_folder, accelerator, go_on=go_on)
    parts: BuiltParts | None = None

    def put_loss_on_record(said: str) -> None:
        if not context.saved or state.interruptions:  # else its record stands
            rest = parts, state, outcome
            put_on_record_at_once(context, rest, "failed", f"ProcessLostError: {said}")

    with ExitStack() as entered:  # until it is on record: a launcher may pass a signal on late
        entered.enter_context(applied(config, context.plan))
        entered.enter_context(writer)
        entered.enter_context(
            watchdog.armed(partial(end_unanswered, put_on_record=put_loss_on_record))
        )
        try:
            with exchange_errors(), memory_errors(config, context.batch_plan.global_batch_size):
                num_steps = context.batch_plan.num_steps
                steps = decide_together(accelerator, lambda: profiled_steps(config, num_steps))
                parts = _built(context, ledger)
                entered.callback(parts.step.release)
                run = Run(context, parts, state, outcome)
                if context.saved:
                    _go_on(run, writer, context.saved)
                stops = entered.enter_context(deferred_signals(partial(_give_up, run)))
                guards = Guards(writer, stops, watchdog)
                keep = partial(keep_code, context.code, config, context.run_folder)
                decide_together(accelerator, keep)
                _train_built(run, steps=steps, guards=guards)
                record = record_of(*run)
        except InputError:
            raise
        except BaseException as stop:
            if context.saved and not state.interruptions:
                raise  # it has not gone on yet, and its record stands
            outcome.ended_by(stop)
            save(context, record_of(context, parts, state, outcome))
            raise
        record = save(context, record)
        return record, outcome.stop_signal or stops.asked  # one that came after the last check


def _train_built(run: Run, *, steps: range, guards: Guards) -> None:
    """Train `run` from where it is, `steps` of it profiled; how it went is in its outcome."""
    context, parts, state, outcome = run
    precision = coarsest_precision(parts.observed) if parts.observed else "fp32"
    hooks, profiling = build_hooks(context, precision=precision, steps=steps)
    if context.accelerator.is_main_process:
        _log.info(run.summary())
    if (telemeter := context.telemeter) and telemeter.is_new:
        for line in telemeter.load():
            _log.warning(line)
    try:
        TrainingLoop(run, hooks=hooks, guards=guards)()
        if run.config.diagnose and outcome.status == "completed" and not outcome.stop_signal:
            if context.accelerator.is_main_process:
                _log.info("measuring the parts of a step", extra=PASSING)
            outcome.step_costs = _diagnosis(run)
    finally:
        failed = isinstance(sys.exception(), Exception)  # its device may never answer again
        durations_s = [] if failed else state.timer.durations_s()
        outcome.profile = profiling.profile(durations_s, context.run_folder)
    outcome.error = _what_is_wrong(run, profiling)


def _built(context: RunContext, ledger: Ledger) -> BuiltParts:
    if context.telemeter and context.telemeter.is_new:
        name = context.config.recipe or context.config.model
        slow = f"compiling {name}: up to a minute the first time, then it is kept"
        _log.info(slow if context.plan.compile else f"building {name}", extra=PASSING)
    parts = build_parts(context, ledger)
    if parts.plan.fallback_reason and context.accelerator.is_main_process:
        _log.warning(f"the fast loop fell to {parts.plan.mode}: {parts.plan.fallback_reason}")
    return parts


def _go_on(run: Run, writer: CheckpointWriter, saved: SavedRun) -> None:
    """Bring the run to where `saved` was, if that is its own; all processes must call this."""
    context, accelerator = run.context, run.context.accelerator
    found = {
        "num_processes": context.batch_plan.num_processes,
        "gradient_accumulation_steps": context.config.gradient_accumulation_steps,
        "global_batch_size": context.batch_plan.global_batch_size,
        "mixed_precision": accelerator.mixed_precision,
        "device_type": accelerator.device.type,
        "loop_floor": run.parts.plan.mode,
        "kernels": run.parts.plan.kernels,
        "dataset": context.data.info.sha256[:12],
    }
    parity = differs_by_process(run.parts.model, run.parts.step.objective)
    decide_together(accelerator, lambda: check_same(saved, found, parity=parity))
    patience_s = context.config.process_timeout_s / 2  # the others wait for it
    decide_together(accelerator, lambda: writer.lock(saved, patience_s=patience_s))
    try:
        restore(run, saved)
    except InputError as error:
        raise error if accelerator.is_main_process else SaidElsewhereError(str(error)) from None
    if accelerator.is_main_process:
        _log.info(f"going on from step {run.step:,} of {context.run_folder}")
        if changes := run.state.interruptions[-1].code_changes:
            _log.warning(f"it goes on under other code: {code_text(changes)}")


def _what_is_wrong(run: Run, profiling: Profilers) -> str | None:
    """Why a run diverged, in words, or what is wrong with the profile of one that did not."""
    outcome = run.outcome
    if outcome.status == "completed":
        last = run.state.interruptions[-1].step if run.state.interruptions else 0
        return profiling.error(went_on_from=last)
    if outcome.bad_step is not None:
        return f"the loss or a weight was not finite at step {outcome.bad_step}"
    bad = [point for point in run.state.eval_points[-1:] if point.loss is None]
    return f"the {bad[0].split} loss was not finite after step {run.step}" if bad else None


def _diagnosis(run: Run) -> StepCosts | None:
    """`diagnose`, whose failure is no failure of a run that has ended well."""
    from mnistbench.engine.diagnosis import diagnose  # it imports triton, which few runs need

    try:
        return diagnose(run)
    except Exception as error:
        if run.context.accelerator.num_processes > 1:
            raise  # the others would wait
        _log.warning(f"diagnose: not found out: {first_line(error)}")
        return None


def _asked_by_any(accelerator: Accelerator, asked: int) -> int:
    """The signal that was sent to any of the processes, the same answer on all; 0 for none."""
    mine = torch.tensor([asked], device=accelerator.device)
    return int(accelerator.gather(mine).max())


def _give_up(run: Run, number: int) -> None:
    """End the process at signal `number` though its main thread does not come back."""
    said = f"ended at once by signal {number}: its step did not end in time"
    put_on_record_at_once(run.context, (run.parts, run.state, run.outcome), "interrupted", said)
    exit_now(number)
