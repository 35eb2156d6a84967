"""Checkpoints on the device: a run that gets SIGTERM and goes on ends as one that never did.

With ``--exact-parity`` the bits have to be the same. The stock loop promises none on CUDA: its
curve has to be.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.chaos import differences
from bench.gpu_check.commands import Started, records_in, train_command
from bench.gpu_check.curves import apart, losses
from bench.gpu_check.findings import Finding, Setup
from bench.gpu_check.results import attempted
from mnistbench.schema.record import RunRecord

_FLAGS = (
    *("--dataset", "synthetic", "--synthetic-train-size", "6900", "--val-size", "500"),
    *("--model", "cnn", "--augment", "shift", "--optimizer", "adam", "--lr", "0.002"),
    *("--global-batch-size", "64", "--num-epochs", "100000", "--eval-every-steps", "500"),
)
_CLOSE = 2e-2
_ENDS_IN_S = 120.0
_INTO_IT_S = 0.3
_MOST_STRIKES = 3
_INTERRUPTED = 143


class Case(NamedTuple):
    """Flags of a run; without `bits`, only its curve has to be the same."""

    name: str
    flags: Sequence[str]
    num_steps: int
    bits: bool = True


def cases(setup: Setup) -> list[Case]:
    exact, steps = ("--loop", "fast", "--exact-parity"), setup.resumed_steps
    found = [
        Case("fast", exact, steps),
        Case("fast, bf16, 4 steps per graph, pieces", (*exact, *_BF16), steps),
    ]
    if setup.device_type == "cuda":  # fp16 does not run on the CPU
        stock = ("--loop", "stock", "--mixed-precision", "fp16")
        found.append(Case("stock, fp16", stock, max(steps // 8, 100), bits=False))
    return found


_BF16 = (
    *("--mixed-precision", "bf16", "--steps-per-graph", "4"),
    *("--gradient-accumulation-steps", "2"),
)


def check(setup: Setup) -> Iterator[Finding]:
    for number, case in enumerate(cases(setup)):
        folder = setup.scratch / f"resumed-{number}"
        one = partial(check_case, case, setup, folder=folder)
        yield from attempted(case.name, lambda one=one: [one()])


def check_case(case: Case, setup: Setup, *, folder: Path) -> Finding:
    """Make the run whole, and again with a SIGTERM in it; compare what they end with."""
    flags = [*_FLAGS, *setup.thread_flags(), *case.flags, "--max-steps", str(case.num_steps)]
    flags += ["--checkpoint-every-steps", str(max(case.num_steps // 4, 1))]
    whole, broken = folder / "whole", folder / "broken"
    first = Started(train_command(flags, whole), folder=whole, device_type=setup.device_type)
    again = [*flags, "--resume", "latest"]
    steps, said = _interrupt_and_resume(again, broken, setup)
    ended = first.end(timeout_s=_ENDS_IN_S)
    expected = "the same bits" if case.bits else f"the same curve within {_CLOSE:g}"
    records = records_in(whole)
    if said or ended.status != 0 or len(records) != 1:
        found, holds = said or f"uninterrupted: {ended.text()}", False
    else:
        found, holds = _compared(case, records[0], whole, broken)
        holds = holds and bool(steps)
    return Finding(
        check=case.name,
        expected=f"interrupted by SIGTERM and resumed: {expected}",
        found=found,
        holds=holds,
        values={
            "interrupted after step": ", ".join(map(str, steps)) or "never",
            "steps": case.num_steps,
        },
    )


def _interrupt_and_resume(
    command: Sequence[str], folder: Path, setup: Setup
) -> tuple[list[int], str]:
    """The steps after which it was interrupted, and what went wrong, if so."""
    for pause_s in (_INTO_IT_S, _INTO_IT_S / 4, 0.0)[:_MOST_STRIKES]:
        run = Started(train_command(command, folder), folder=folder, device_type=setup.device_type)
        if run.wait_until_it_trains():
            time.sleep(pause_s)
            run.strike(signal.SIGTERM)
        ended = run.end(timeout_s=_ENDS_IN_S)
        if ended.status == _INTERRUPTED:
            break
        if ended.status != 0:
            return [], f"interrupted: {ended.text()}"
        shutil.rmtree(folder)  # it was over before the signal came
    resumed = Started(train_command(command, folder), folder=folder, device_type=setup.device_type)
    ended = resumed.end(timeout_s=_ENDS_IN_S)
    if ended.status != 0:
        return [], f"resumed: {ended.text()}"
    return [i.step for record in records_in(folder) for i in record.interruptions], ""


def _compared(case: Case, whole: RunRecord, its_folder: Path, broken: Path) -> tuple[str, bool]:
    ran = f"ran as {whole.environment.get('loop_floor')}"
    if case.bits:
        differing = differences((whole, its_folder / whole.run_id, 0.0), broken)
        return f"{'differ: ' + ', '.join(differing) if differing else 'the same'}; {ran}", (
            not differing
        )
    [record] = records_in(broken)
    distance = apart(losses(whole), losses(record))
    return f"{distance:.1e}; {ran}", distance <= _CLOSE
