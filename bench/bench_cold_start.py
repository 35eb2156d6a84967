"""What a start costs: from nothing to a run of one step and its record, phase by phase.

The import that any program with torch pays; a run by ``python -m``;
the same by ``accelerate launch``; and one with its step compiled, first with nothing in the
compiler's cache, then with what that left there. Each is a process of its own, and rounds are
interleaved. What a run's own clock does not see, from its record to the end of its process and a
launcher around it, is told apart.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from bench.suite_format import interval_text, ratio
from mnistbench.launch.children import run_child
from mnistbench.launch.commands import cpu_environment
from mnistbench.launch.runs import RunFailedError
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import find_records, load_record
from mnistbench.training_benchmark import CLOCK

IMPORTS = "import torch"
PYTHON, LAUNCHED = "python -m mnistbench.train", "accelerate launch -m mnistbench.train"
EMPTY, FILLED = "python, compiled, cache empty", "python, compiled, cache filled"
STARTS = (IMPORTS, PYTHON, LAUNCHED, EMPTY, FILLED)
ROUNDS = {"smoke": 1, "quick": 1, "full": 10}
COMPILED_ROUNDS = {"smoke": 0, "quick": 1, "full": 5}
COMPILED_MODEL = {"quick": "linear", "full": "simple-cnn"}
PHASES = ("import", "startup", "data", "build", "compile", "train", "eval", "other")


@dataclass(frozen=True, kw_only=True)
class Start:
    """One process from its start to its end: by the wall and in CPU time [seconds]."""

    wall_s: float
    cpu_s: float
    record: RunRecord | None = None

    def phase_s(self, name: str) -> float:
        return self.record.phases_s[name]

    @property
    def around_s(self) -> float:
        """What the run's own clock does not see: a launcher, and the end of the process."""
        return self.wall_s - self.record.wall_s


@pytest.fixture(scope="module")
def measured(budget, make_config, report, device, chosen):
    """Each start's processes, in rounds; one of each kind that does not count read the files."""
    wanted = {IMPORTS, *chosen("start")}
    environment = cpu_environment() if device.type == "cpu" else os.environ
    config = make_config(max_steps=1)
    if budget != "smoke":
        launch_run(config, PYTHON, environment)
    section = report.section("cold start")
    found: dict[str, list[Start]] = {name: [] for name in STARTS if name in wanted}
    for done in range(ROUNDS[budget]):
        for name in (IMPORTS, PYTHON, LAUNCHED):
            if name in wanted:
                found[name].append(launch_run(config, name, environment))
        if wanted & {EMPTY, FILLED} and done < COMPILED_ROUNDS[budget]:
            compiled = make_config(max_steps=1, compile=True, model=COMPILED_MODEL[budget])
            for name, start in compile_twice(compiled, environment, section).items():
                found.setdefault(name, []).append(start)
    for name, starts in found.items():
        if starts:
            tabulate_start(section, name, starts, found[IMPORTS])
    section.note("medians in seconds of rounds run in turn (95 % interval from n = 6 on)")
    section.note(
        "around: what a run's own clock does not see, a launcher and the end of its process; "
        "CPU: of the process and all it started"
    )
    return found


def compile_twice(config, environment, section) -> dict[str, Start]:
    """A run that finds nothing compiled, headers included, and one that finds what it left."""
    with tempfile.TemporaryDirectory() as cache:
        alone = {
            "TMPDIR": cache,  # precompiled headers are kept there, whatever the cache is told
            "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
            "TRITON_CACHE_DIR": f"{cache}/triton",
        }
        try:
            return {name: launch_run(config, name, environment | alone) for name in (EMPTY, FILLED)}
        except RunFailedError as error:
            section.note(f"not compiled: {error}")
            return {}


def launch_run(config: RunConfig, name: str, environment: Mapping[str, str]) -> Start:
    """Start `name` and wait for its end.

    Raises:
        RunFailedError: it did not do what it was started for.
    """
    folder = Path(tempfile.mkdtemp(dir=config.output_dir))
    before, began = os.times(), time.perf_counter()
    status, said = run_child(command(config, name, folder), environment=environment)
    wall_s, after = time.perf_counter() - began, os.times()
    if status:
        raise RunFailedError(said.strip().rpartition("\n")[2] or f"exit status {status}")
    cpu_s = sum(after[2:4]) - sum(before[2:4])  # of children, user's and system's
    record = None if name == IMPORTS else load_record(*find_records([folder]))
    return Start(wall_s=wall_s, cpu_s=cpu_s, record=record)


def command(config: RunConfig, name: str, folder: Path) -> Sequence[str]:
    if name == IMPORTS:
        return [sys.executable, "-c", IMPORTS]
    flags = [
        *("--max-steps", str(config.max_steps), "--dataset", config.dataset, "--quiet"),
        *("--model", config.model, "--output-dir", str(folder)),
        *(["--compile"] if config.compile else []),
    ]
    launcher = []
    if name == LAUNCHED:
        launcher = ["-m", "accelerate.commands.accelerate_cli", "launch"]
        launcher += ["--num_processes=1", "--num_machines=1"]
        launcher += ["--mixed_precision=no", "--dynamo_backend=no"]
    return [sys.executable, *launcher, "-m", "mnistbench.train", *flags]


def tabulate_start(section, name, starts, imports):
    first = starts[0].record
    more_s = over(starts, imports)
    cells = dict.fromkeys((*PHASES, "around"), "–")
    phases = {}
    if first:
        phases = {phase: [start.phase_s(phase) for start in starts] for phase in PHASES}
        phases["around"] = [start.around_s for start in starts]
        cells = {phase: interval_text(values, ratio) for phase, values in phases.items()}
    section.add(
        {
            "start": name,
            "model": first.config["model"] if first else "–",
            "step": first.environment.get("loop_floor", "–") if first else "–",
            "wall": interval_text([start.wall_s for start in starts], ratio),
            "over the import": interval_text(more_s, ratio) if first else "–",
            "CPU": interval_text([start.cpu_s for start in starts], ratio),
            **cells,
            "n": str(len(starts)),
        },
        start=name,
        wall_s=[start.wall_s for start in starts],
        over_imports_s=more_s,
        cpu_s=[start.cpu_s for start in starts],
        phases_s=phases,
    )


def over(starts: Sequence[Start], imports: Sequence[Start]) -> list[float]:
    """Seconds that each of `starts` takes more than the imports of its round."""
    return [mine.wall_s - bare.wall_s for mine, bare in zip(starts, imports, strict=False)]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.benchmark(group="cold start", timer=CLOCK)
def bench_start(benchmark, measured, start):
    starts = measured.get(start)
    if not starts:
        pytest.skip("this budget, or this machine, compiles nothing")
    CLOCK.replay(benchmark, [one.wall_s for one in starts])
    benchmark.extra_info |= {
        "cpu_s": median(one.cpu_s for one in starts),
        "over_imports_s": median(over(starts, measured[IMPORTS])),
    }
    if first := starts[0].record:
        benchmark.extra_info |= {
            "model": first.config["model"],
            "dataset": first.dataset.name,
            "global_batch_size": first.environment["global_batch_size"],
            "num_steps": first.num_steps,
            "loop_floor": first.environment.get("loop_floor"),
            "phases_s": {name: median(one.phase_s(name) for one in starts) for name in PHASES},
        }
