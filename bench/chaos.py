"""Does a run that is interrupted anywhere, again and again, end as if it never had been?

Real runs by the real launchers (dropout, augmentation, accumulated batches; stock and fast loop;
one and two processes) get SIGTERM, SIGINT or SIGKILL at random moments: while they start, train,
evaluate or save. Each is started again by the same command until it ends. Its weights have to be
those of a run without interruption to the byte, its evaluations and its result to the last digit;
and no process may be left 12 s after whoever started it has gone.

    python -m bench.chaos                     # 120 interruptions: about 20 minutes on two cores
    python -m bench.chaos --interruptions 4 --setups fast-2p
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil
import safetensors.torch

from bench.gpu_check.commands import Started, records_in, torchrun, train_command
from bench.publishing import publish
from mnistbench.output.tables import render_table
from mnistbench.schema.checkpoint import SavedRun, checkpoints_of, load_newest
from mnistbench.schema.record import RunRecord

FLAGS = (
    *("--dataset", "synthetic", "--synthetic-train-size", "1900", "--val-size", "300"),
    *("--model", "cnn", "--dropout", "0.3", "--augment", "shift", "rotate", "--optimizer", "adam"),
    *("--lr", "0.002", "--lr-schedule", "cosine", "--global-batch-size", "32", "--num-epochs", "4"),
    *("--gradient-accumulation-steps", "2", "--eval-every-steps", "23", "--num-threads", "1"),
    *("--checkpoint-every-steps", "7", "--resume", "latest", "--target-accuracy", "0.2"),
)
SETUPS = {
    "fast-1p": ("fast", 1, "python", ()),
    "stock-1p": ("stock", 1, "accelerate", ("--loader", "streaming", "--num-workers", "1")),
    "fast-2p": ("fast", 2, "torchrun", ()),
    "stock-2p": ("stock", 2, "torchrun", ()),
}
"""Loop, processes, what starts them, and further flags."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
GROUP_SHARE = 0.3
"""Of the polite signals, those that go to the whole group, as from a terminal."""

STARTING_SHARE = 0.1
"""Of the interruptions, those that come before training."""

LONGEST_S = 120.0
GONE_IN_S = 12.0


@dataclass
class Interruption:
    """One signal, and what came of it."""

    number: signal.Signals
    step: int | None
    gone_s: float
    survivors: int


@dataclass
class Outcome:
    """A run of one setup, interrupted and resumed to its end."""

    setup: str
    interruptions: list[Interruption] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interruptions", type=int, default=120)
    parser.add_argument("--per-run", type=int, default=6, help="then a run is let go to its end")
    parser.add_argument("--setups", nargs="+", choices=SETUPS, default=list(SETUPS))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--report", type=Path, help="folder for chaos.md")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)  # noqa: S311 - not for secrets
    began = time.monotonic()
    with TemporaryDirectory() as scratch:
        outcomes = list(chaos(arguments, draw, Path(scratch)))
    text = "\n".join([*page(outcomes), f"{time.monotonic() - began:.0f} s"])
    publish(text, arguments.report, "chaos")
    wrong = any(o.differing or any(i.survivors for i in o.interruptions) for o in outcomes)
    sys.exit(1 if wrong else 0)


def chaos(arguments: argparse.Namespace, draw: random.Random, scratch: Path):
    """Runs of all setups in turn until there were enough interruptions; gives their outcomes."""
    references: dict[str, tuple[RunRecord, Path, float]] = {}
    left, number = arguments.interruptions, 0
    while left > 0:
        for setup in arguments.setups:
            if left <= 0:
                return
            if setup not in references:
                references[setup] = uninterrupted(setup, scratch / f"whole-{setup}")
            folder, number = scratch / f"run-{number}", number + 1
            count = min(arguments.per_run, left)
            outcome = interrupted(setup, folder, count, draw, references[setup][2])
            left -= len(outcome.interruptions)
            outcome.differing = differences(references[setup], folder)
            num = len(outcome.interruptions)
            print(f"{setup}: {num} interruptions, {outcome.differing or 'same'}", flush=True)
            yield outcome


def command(setup: str, folder: Path) -> list[str]:
    loop, num_processes, launcher, further = SETUPS[setup]
    flags = [*FLAGS, *further, "--loop", loop]
    if launcher == "torchrun":
        return torchrun(flags, folder, num_processes=num_processes)
    python, *train = train_command(flags, folder)
    cli = ["-m", "accelerate.commands.accelerate_cli", "launch", "--cpu"]
    return [python, *(cli if launcher == "accelerate" else []), *train]


def started(setup: str, folder: Path) -> Started:
    """One start of a run."""
    return Started(command(setup, folder), folder=folder, device_type="cpu", in_session=True)


def uninterrupted(setup: str, folder: Path) -> tuple[RunRecord, Path, float]:
    """The record and folder of a run to compare with, and how long it trained [seconds]."""
    life = started(setup, folder)
    life.wait_until_it_trains(timeout_s=LONGEST_S)
    began = life.elapsed_s()
    if life.process.wait(LONGEST_S) != 0:
        raise RuntimeError(f"{setup} fails by itself:\n{life.said()}")
    elapsed_s, [record] = life.elapsed_s() - began, records_in(folder)
    return record, folder / record.run_id, elapsed_s


def interrupted(
    setup: str, folder: Path, count: int, draw: random.Random, length_s: float
) -> Outcome:
    """A run that is interrupted up to `count` times, and then goes to its end."""
    outcome = Outcome(setup)
    while len(outcome.interruptions) < count and not is_done(folder):
        life = started(setup, folder)
        if draw.random() < STARTING_SHARE:
            time.sleep(3 * draw.random())
        else:
            life.wait_until_it_trains(timeout_s=LONGEST_S)
            time.sleep(0.5 * length_s * draw.random())
        if life.process.poll() is None:
            outcome.interruptions.append(strike(life, folder, draw))
        life.process.wait()
    if not is_done(folder):
        life = started(setup, folder)
        if life.process.wait(LONGEST_S) != 0:
            outcome.differing.append(f"it did not end well: {life.said()[-500:]}")
    return outcome


def strike(life: Started, folder: Path, draw: random.Random) -> Interruption:
    """Send a signal: to the launcher or its group, or, if it kills, to any process of the run."""
    number, everyone = draw.choice(SIGNALS), life.processes()
    sent = time.monotonic()
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it ended meanwhile
        if number == signal.SIGKILL:
            draw.choice(everyone).send_signal(number)
        elif draw.random() < GROUP_SHARE:
            os.killpg(life.process.pid, number)
        else:
            life.process.send_signal(number)
    _, left = psutil.wait_procs(everyone, timeout=GONE_IN_S)
    gone_s = time.monotonic() - sent
    for process in left:
        process.kill()
    return Interruption(number, last_step(folder), gone_s, len(left))


def last_step(folder: Path) -> int | None:
    steps = [
        int(path.name.rpartition("-")[2]) for run in runs(folder) for path in checkpoints_of(run)
    ]
    return max(steps, default=None)


def runs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/checkpoints"))


def is_done(folder: Path) -> bool:
    return any(record.status == "completed" for record in records_in(folder))


def differences(reference: tuple[RunRecord, Path, float], folder: Path) -> list[str]:
    """What of the run in `folder` is not as in `reference`; nothing is what is hoped for."""
    expected, its_folder, _ = reference
    done = [record for record in records_in(folder) if record.status == "completed"]
    if len(done) != 1:
        return [f"{len(done)} runs were completed"]
    (record,) = done
    saved, whole = (load_newest(path)[0] for path in (folder / record.run_id, its_folder))
    if saved is None or whole is None:
        return ["no checkpoint of the end"]
    same = {
        **{name: saved.files[name] == whole.files[name] for name in TENSORS},
        "random states and losses": of_processes(saved) == of_processes(whole),
        "evaluations": evaluations(record) == evaluations(expected),
        "training losses": record.train_points == expected.train_points,
        "test accuracy": record.result.test_accuracy == expected.result.test_accuracy,
        "test loss": record.result.test_loss == expected.result.test_loss,
        "steps to target": record.result.steps_to_accuracy == expected.result.steps_to_accuracy,
        "a clock that runs on": clock_runs_on(record),
        "a ledger that adds up": adds_up(record),
    }
    return [name for name, is_same in same.items() if not is_same]


TENSORS = ("model.safetensors", "optimizer.safetensors")


def of_processes(saved: SavedRun) -> dict[str, object]:
    """What each process has of its own, but for its clocks."""
    tensors = safetensors.torch.load(saved.files["processes.safetensors"])
    return {name: t.tolist() for name, t in tensors.items() if not name.endswith("_s")}


def evaluations(record: RunRecord) -> list[tuple[object, ...]]:
    return [(p.step, p.split, p.loss, p.accuracy, p.num_samples) for p in record.eval_points]


def clock_runs_on(record: RunRecord) -> bool:
    """Evaluations are of the slowest process's train clock, the ledger is of the main one's."""
    times = [point.train_s for point in record.eval_points]
    return times == sorted(times) and 0.9 < times[-1] / record.phases_s["train"] < 1.1


def adds_up(record: RunRecord) -> bool:
    return abs(sum(record.phases_s.values()) - record.wall_s) <= max(0.01 * record.wall_s, 0.02)


def page(outcomes: Sequence[Outcome]) -> list[str]:
    """The outcomes as a page of Markdown."""
    rows = []
    for setup, (loop, num_processes, launcher, _) in SETUPS.items():
        of_setup = [outcome for outcome in outcomes if outcome.setup == setup]
        struck = [i for outcome in of_setup for i in outcome.interruptions]
        if not of_setup:
            continue
        counts = {s.name: sum(i.number == s for i in struck) for s in SIGNALS}
        gone = [i.gone_s for i in struck]
        rows.append(
            {
                "loop": loop,
                "processes": str(num_processes),
                "started by": launcher,
                "interruptions": str(len(struck)),
                **{name: str(count) for name, count in counts.items()},
                "all gone after s: median": f"{median(gone):.1f}" if gone else "–",
                "longest": f"{max(gone):.1f}" if gone else "–",
                "survivors": str(sum(i.survivors for i in struck)),
                "runs": str(len(of_setup)),
                "with the same bits": str(sum(not outcome.differing for outcome in of_setup)),
            }
        )
    wrong = [f"{o.setup}: {json.dumps(o.differing)}" for o in outcomes if o.differing]
    num = sum(len(outcome.interruptions) for outcome in outcomes)
    equal = sum(not outcome.differing for outcome in outcomes)
    said = f"{num} interruptions of {len(outcomes)} runs, {equal} ended with the same bits"
    return [render_table(rows, "markdown"), "", f"{said}.", *wrong]


if __name__ == "__main__":
    main()
