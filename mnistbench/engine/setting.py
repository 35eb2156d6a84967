"""What the seeds of one command share: processes, plan, data and where they go on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import torch
from accelerate import Accelerator

from mnistbench.engine.data import place_data
from mnistbench.engine.distributed import (
    agree,
    check_precision,
    decide_together,
    shards_weights,
    start_accelerator,
)
from mnistbench.engine.interconnect import measure_interconnect
from mnistbench.engine.locks import invocation_lock
from mnistbench.engine.plan import ExecutionPlan, Hardware, resolve_plan
from mnistbench.engine.process_group import check_group
from mnistbench.engine.process_loss import end_unanswered
from mnistbench.engine.resume import Invocation, find_resume_point, new_invocation
from mnistbench.engine.run import RunContext, Setting
from mnistbench.engine.run_hooks import check_hooks
from mnistbench.engine.watchdog import Watchdog
from mnistbench.recorder.clock import Ledger
from mnistbench.recorder.environment import set_threads
from mnistbench.recorder.launcher import this_launch
from mnistbench.recorder.own_code import code_as_imported
from mnistbench.recorder.telemetry import Telemeter
from mnistbench.schema.checkpoint import SavedRun
from mnistbench.schema.component import DataShape, is_own, own_fields, short_name
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable
from mnistbench.schema.provenance import sources_text
from mnistbench.schema.streams import PASSING
from mnistbench.schema.user_code import UserCode
from mnistbench.workload.augment import check_shifts
from mnistbench.workload.batches import BatchPlan
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.models import check_model
from mnistbench.workload.own_components import check_own
from mnistbench.workload.schedules import lr_factor

_log = logging.getLogger(__name__)


def start_setting(config: RunConfig, ledger: Ledger, *, held: ExitStack) -> Setting:
    """Start the processes and refuse, before any work, what cannot be had; then place the data.

    What a command has to itself while it trains is let go with `held`.

    Raises:
        InputError, ProcessLostError: the input has to be mended; the processes did not meet.
    """
    check_precision(config)
    with ledger.phase("startup"):
        code_as_imported(config)  # before it is imported
        for field in own_fields(config):
            check_own(config, field)
    if not is_own(config.dataset):
        _check_fits(config, DIGIT_SHAPE)
    launch = this_launch()
    if launch.world_size > 1 and launch.rank == 0:
        _log.info(f"waiting for {launch.world_size} processes to meet", extra=PASSING)
    with ledger.phase("startup"):
        accelerator = start_accelerator(config)
        set_threads(config.num_threads)
    group = check_group(accelerator, timeout_s=config.process_timeout_s)
    with Watchdog(group.watchdog_s, end_unanswered) as watchdog, watchdog.armed():
        return _start_together(config, accelerator, ledger, held=held)


def _start_together(
    config: RunConfig, accelerator: Accelerator, ledger: Ledger, *, held: ExitStack
) -> Setting:
    code = _same_code(config, accelerator)
    hardware = Hardware(
        device=accelerator.device,
        num_processes=accelerator.num_processes,
        mixed_precision=accelerator.mixed_precision,
        is_sharded=shards_weights(accelerator),
    )
    plan = decide_together(accelerator, lambda: resolve_plan(config, hardware))
    _check_here(config, accelerator)
    if accelerator.device.type != "cpu":
        ledger.synchronize = torch.accelerator.synchronize
    decide_together(accelerator, lambda: held.enter_context(invocation_lock(config)))
    told = sources_text(one.info for one in code)
    resume_point = decide_together(accelerator, lambda: find_resume_point(config, code=told))
    if resume_point:
        config = config.model_copy(update={"output_dir": str(resume_point.folder)})
    decide_together(accelerator, lambda: check_writable(_output_dir(config)))
    telemeter = Telemeter(accelerator.device) if accelerator.is_main_process else None
    invocation = decide_together(accelerator, lambda: new_invocation(config))
    if resume_point:
        invocation = Invocation(resume_point.invocation, config)
    with ledger.phase("startup"):
        interconnect = measure_interconnect(accelerator)
    with ledger.phase("data"):
        data = place_data(config, accelerator)
    decide_together(accelerator, lambda: _check_fits(config, data.loaded.shape))
    batch_plan = _batch_plan(accelerator, config, num_train=data.info.num_train)
    decide_together(accelerator, lambda: _check_graph(plan, config, batch_plan))
    _same_code(config, accelerator)  # nor has it changed while it was imported
    return Setting(
        config=config,
        accelerator=accelerator,
        plan=plan,
        code=code,
        data=data,
        invocation=invocation,
        interconnect=interconnect,
        telemeter=telemeter,
        found=resume_point.seeds if resume_point else {},
    )


def _check_fits(config: RunConfig, shape: DataShape) -> None:
    """Refuse a network or shifts that data of `shape` are too small for."""
    check_model(config, shape)
    check_shifts(config, shape)


def _same_code(config: RunConfig, accelerator: Accelerator) -> Sequence[UserCode]:
    """`code_as_imported`, where all processes have the main one's; all must call this."""
    problem, codes = None, list[UserCode]()
    try:
        codes = code_as_imported(config)
    except InputError as error:
        problem = error
    for code, main in zip(codes, decide_together(accelerator, lambda: codes), strict=False):
        if code != main:
            named = f"{code.info.component}: {code.info.reference}"
            problem = InputError(f"{named} is other code than the main process has")
    agree(accelerator, problem)
    return codes


def _check_graph(plan: ExecutionPlan, config: RunConfig, batch_plan: BatchPlan) -> None:
    """Refuse a graph of more steps than are ever made at once: none would be replayed."""
    lengths = {
        "an epoch": batch_plan.steps_per_epoch,
        "the run": batch_plan.num_steps,
        "--eval-every-steps": config.eval_every_steps,
        "--checkpoint-every-steps": config.checkpoint_every_steps,
    }
    shortest, name = min((steps, name) for name, steps in lengths.items() if steps)
    if plan.steps_per_graph > shortest:
        raise InputError(
            f"steps_per_graph: {plan.steps_per_graph} are more than the {shortest} of {name}; "
            f"use at most {shortest}"
        )


def _check_here(config: RunConfig, accelerator: Accelerator) -> None:
    """Refuse what these machines or FSDP, where it shares weights out, do not give."""
    decide_together(accelerator, lambda: check_hooks(config, accelerator))
    if accelerator.is_local_main_process:
        check_hooks(config, accelerator)  # another machine has other libraries
    if not shards_weights(accelerator):
        return
    mend = "launch with MULTI_GPU, or leave it out"
    if config.checkpoint_every_steps or config.resume:
        name = "checkpoint_every_steps" if config.checkpoint_every_steps else "resume"
        raise InputError(f"{name}: weights that FSDP shares out cannot be saved; {mend}")
    if config.diagnose:
        raise InputError(f"diagnose: steps of a network that FSDP shares out are not told; {mend}")


def run_context(setting: Setting, *, seed: int, saved: SavedRun | None = None) -> RunContext:
    """What the run of `seed` is given: a name of its own, or that of `saved`, where it goes on."""
    accelerator, update = setting.accelerator, {"seed": seed, "num_seeds": 1, "resume": None}
    config = setting.config.model_copy(update=update)
    if saved:
        created_at, run_id = saved.state.created_at, saved.state.run_id
    else:
        created_at, run_id = decide_together(accelerator, lambda: _new_name(config))
    return RunContext(
        **vars(setting) | {"config": config},
        batch_plan=_batch_plan(accelerator, config, num_train=setting.data.info.num_train),
        run_id=run_id,
        created_at=created_at,
        run_folder=saved.run_folder if saved else _output_dir(config) / run_id,
        lr_factor=lr_factor(config, accelerator.num_processes),
        saved=saved,
    )


def _batch_plan(accelerator: Accelerator, config: RunConfig, *, num_train: int) -> BatchPlan:
    per_device = (config.per_device_batch_size or 0) * accelerator.num_processes
    global_batch_size = config.global_batch_size or per_device
    all_steps = -(-num_train // global_batch_size) * config.num_epochs
    return BatchPlan(
        num_samples=num_train,
        global_batch_size=global_batch_size,
        num_steps=min(all_steps, config.max_steps or all_steps),
        seed=config.seed,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )


def _new_name(config: RunConfig) -> tuple[str, str]:
    """Now, in ISO 8601, and a name for a run that begins now."""
    now = datetime.now(UTC)
    name = f"{config.recipe or short_name(config.model)[:60]}-seed{config.seed}"
    run_id = f"{now:%Y%m%d-%H%M%S}-{name}-{token_hex(2)}"
    return now.isoformat(timespec="milliseconds"), run_id


def _output_dir(config: RunConfig) -> Path:
    return Path(config.output_dir).expanduser()
