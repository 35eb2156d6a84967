"""Does `compare` see differences where there are none, and does it find one that was planted?

Real runs of one configuration are taken in turn: plain, plain again, and slowed by a pause in each
step. From these are drawn 1,000 comparisons of the thing with itself, in turn and at random, and
1,000 of plain against slowed, each with a pilot and then with as many pairs as `compare` asked for.

    python -m bench.validate_compare                     # about 10 minutes on two cores
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest.mock import patch

from bench.publishing import publish
from mnistbench.analysis.comparison import compare
from mnistbench.engine.run_seeds import train
from mnistbench.engine.stock_step import StockStep
from mnistbench.output.tables import render_table
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord

RESULTS = Path(__file__).parent / "results" / "compare"
SLOWDOWN = 0.05
COMPARISONS = 1000
RUNS_EACH = 10
PILOT = 8
WARM_UP = 8


class Turn(NamedTuple):
    """Three runs taken one after the other, in an order that turns round from turn to turn."""

    plain: RunRecord
    again: RunRecord
    slowed: RunRecord


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=70)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    turns = take_turns(arguments.turns, arguments.steps)
    draw = random.Random(0)  # noqa: S311 - not for secrets
    rows = [
        itself("in turn", [pairs_of_one_thing(draw, turns) for _ in range(COMPARISONS)]),
        itself("not in turn", [two_sets_of_one_thing(draw, turns) for _ in range(COMPARISONS)]),
        planted([found_slowdown(draw, turns) for _ in range(COMPARISONS)]),
    ]
    write(turns, rows, arguments.steps)


def take_turns(num_turns: int, num_steps: int) -> list[Turn]:
    """The runs: simple-cnn, a few hundred steps, each with a seed of its own."""
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            model="simple-cnn",
            dataset="mnist",
            loop="stock",  # the loop whose step can be slowed from outside
            global_batch_size=512,
            max_steps=num_steps,
            output_dir=folder,
        )
        step_s = median(run(config, seed, 0.0).throughput.step_s_p50 for seed in range(WARM_UP))
        pause_s = SLOWDOWN * step_s
        for seed in range(num_turns):
            order = [("plain", 0, 0.0), ("again", 1000, 0.0), ("slowed", 2000, pause_s)]
            order = order[:: 1 if seed % 2 else -1]
            turns.append(Turn(**{name: run(config, seed + s, p) for name, s, p in order}))
    return turns


def run(config: RunConfig, seed: int, pause_s: float) -> RunRecord:
    with slower_step(pause_s):
        return train(config.model_copy(update={"seed": seed}))[0]


@contextmanager
def slower_step(pause_s: float):
    """Plant a pause in each training step, inside the train clock.

    It is spun, not slept: on a virtual machine waking up again costs more than five per cent.
    """
    plain_step = StockStep.__call__

    def with_pause(self, batch, *, lr):
        until = time.perf_counter() + pause_s
        while time.perf_counter() < until:
            continue
        return plain_step(self, batch, lr=lr)

    with patch.object(StockStep, "__call__", with_pause if pause_s else plain_step):
        yield


def pairs_of_one_thing(draw: random.Random, turns: Sequence[Turn]) -> list[str]:
    """Verdicts on plain runs against plain runs beside them in time, each side first in turn."""
    chosen = in_both_orders(draw, turns, RUNS_EACH)
    a, b = [t.plain for t in chosen], [t.again for t in chosen]
    return verdicts(a, b) if draw.random() < 0.5 else verdicts(b, a)


def in_both_orders(draw: random.Random, turns: Sequence[Turn], number: int) -> list[Turn]:
    """So many turns, half of each order, as `compare --interleave` takes them."""
    odd = number // 2 + (number % 2 and draw.randrange(2))
    halves = ([t for t in turns if t.plain.seed % 2 == parity] for parity in (1, 0))
    sizes = (odd, number - odd)
    return [t for half, size in zip(halves, sizes, strict=True) for t in draw.sample(half, size)]


def two_sets_of_one_thing(draw: random.Random, turns: Sequence[Turn]) -> list[str]:
    """Verdicts on plain runs against others of all times."""
    chosen = draw.sample(turns, 2 * RUNS_EACH)
    return verdicts([t.plain for t in chosen[:RUNS_EACH]], [t.plain for t in chosen[RUNS_EACH:]])


def verdicts(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> list[str]:
    return [row.verdict for row in compare(a, b).rows]


def found_slowdown(draw: random.Random, turns: Sequence[Turn]) -> tuple[str, int]:
    """The verdict on speed with as many pairs as a pilot was told to take, and their number.

    Where more were asked for than there are, all there are.
    """
    pilot = in_both_orders(draw, turns, PILOT)
    seeds = {turn.plain.seed for turn in pilot}
    rest = [turn for turn in turns if turn.plain.seed not in seeds]
    more = min(speed_row(pilot).more_runs or 0, len(rest) - len(rest) % 2)
    chosen = pilot + in_both_orders(draw, rest, more)
    return speed_row(chosen).verdict, len(chosen)


def speed_row(turns: Sequence[Turn]):
    comparison = compare([t.plain for t in turns], [t.slowed for t in turns])
    return next(row for row in comparison.rows if row.metric == "samples_per_s")


def itself(how: str, found: Sequence[Sequence[str]]) -> dict[str, str]:
    """A row on comparisons of one thing with itself: how many of them held any verdict."""
    honest = {"no difference seen", "no verdict"}
    false = sum(any(verdict not in honest for verdict in table) for table in found)
    withheld = sum("no verdict" in table for table in found)
    judged = len(found) - withheld
    return {
        "comparison": f"one thing with itself, {how}",
        "runs a side": str(RUNS_EACH),
        "comparisons": str(len(found)),
        "verdicts": f"{false} false ({100 * false / max(judged, 1):.1f} % of {judged})",
        "withheld (machine drifted)": str(withheld),
    }


def planted(found: Sequence[tuple[str, int]]) -> dict[str, str]:
    counts = Counter(verdict for verdict, _ in found)
    sizes = sorted(size for _, size in found)
    return {
        "comparison": f"a pause of {100 * SLOWDOWN:g} % of each step",
        "runs a side": f"{sizes[0]}–{sizes[-1]}, median {sizes[len(sizes) // 2]}, as asked for",
        "comparisons": str(len(found)),
        "verdicts": f"{counts['slower']} found ({100 * counts['slower'] / len(found):.1f} %)",
        "withheld (machine drifted)": str(counts["no verdict"]),
    }


def write(turns: Sequence[Turn], rows: Sequence[dict[str, str]], num_steps: int) -> None:
    ratio = median(
        t.slowed.throughput.samples_per_s / t.plain.throughput.samples_per_s for t in turns
    )
    environment = turns[0].plain.environment
    text = (
        f"`python -m bench.validate_compare`: {len(turns)} turns of three runs of {num_steps} "
        f"steps of simple-cnn (batch 512) on MNIST; {environment['cpu_name']}, "
        f"{environment['num_threads']} threads, torch {environment['versions']['torch']}. "
        f"The slowed runs made {100 * (ratio - 1):+.1f} % samples/s (median of turns).\n\n"
    )
    speeds = [{name: r.throughput.samples_per_s for name, r in t._asdict().items()} for t in turns]
    publish(text + render_table(rows, "markdown"), RESULTS, "validation", data=speeds)


if __name__ == "__main__":
    main()
