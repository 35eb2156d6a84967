"""Do the tests, intervals, gates and choices do as often as they say what they say? By simulation.

    python -m bench.validate_statistics             # minutes on one core
    python -m bench.validate_statistics --short     # half a minute: what the tests run

Each row counts something over `--trials` made samples, beside the bounds that it should lie in;
three standard errors of chance are allowed for.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product, takewhile
from pathlib import Path

import numpy as np

from bench.made_samples import (
    NOISE,
    Draw,
    Random,
    Row,
    choice,
    gate_state,
    is_told_apart,
    is_within,
    read_between,
    sides,
)
from bench.publishing import publish
from mnistbench.output.tables import render_table
from mnistbench.stats.expected_time import expected_running_time
from mnistbench.stats.intervals import mean_interval
from mnistbench.stats.rank_tests import holm, rank_test, shift
from mnistbench.stats.sequential_test import ALPHA, look_factor, looks
from mnistbench.stats.survival import log_rank, median_reading

RESULTS = Path(__file__).parent / "results" / "statistics"
SHORT, LONG = 150, 2000
_SIZES = (5, 8, 12, 20)
_MOST_PAIRS = 48
_COVERED = (0.93, 1.0)
_BINS = ((0.0, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 1.01))


def main(arguments: list[str] | None = None) -> int:
    """Write the table; status 1 if a row does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=LONG)
    parser.add_argument("--short", action="store_true", help=f"{SHORT} trials")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    given = parser.parse_args(arguments)
    start = time.perf_counter()
    rows = validate(SHORT if given.short else given.trials)
    write(rows, given.output, seconds=time.perf_counter() - start)
    return 0 if all(row.holds for row in rows) else 1


def validate(trials: int, *, only: str | None = None) -> list[Row]:
    """The rows of all checks, or of those whose name is `only`."""
    rows: list[Row] = []
    for index, (name, check) in enumerate(CHECKS.items()):
        if only in (None, name):
            rows += check(Draw(np.random.default_rng(index), trials))
    return rows


def levels(draw: Draw) -> Iterator[Row]:
    """A thing against itself, and against one that is better by 1.2 of its spread."""
    for paired, n, noise in product((True, False), _SIZES, NOISE):
        case = f"{'paired' if paired else 'unpaired'}, {noise} noise, n = {n}"
        told = partial(_told_apart, draw.random, noise, n=n, paired=paired)
        yield Row("false difference", case, *draw.share(told), 0, 0.05)
        yield Row("power at 1.2 spreads", case, *draw.share(partial(told, better=1.2)))


def _told_apart(random: Random, noise: str, *, n: int, paired: bool, better: float = 0.0) -> bool:
    a, b = sides(random, noise, n, paired=paired)
    return rank_test(a.tolist(), (b + better).tolist(), paired=paired) < ALPHA


def unequal_spread(draw: Draw) -> Iterator[Row]:
    """A thing against one that scatters three times as much around the same middle."""
    for n_a, n_b, most in ((8, 8, 0.065), (5, 15, 0.065), (20, 20, 0.065), (15, 5, 0.09)):
        case = f"b scatters 3 times as much, {n_a} and {n_b}"
        misses = partial(_holds_shift, draw.random, n_a, n_b=n_b, spread=3, paired=False)
        trials, held = draw.share(misses)
        yield Row("false difference", case, trials, 1 - held, 0, most)


def _holds_shift(random: Random, n_a: int, *, n_b: int, spread: float, paired: bool) -> bool:
    a, b = random.normal(size=n_a), 0.7 + spread * random.normal(size=n_b)
    return is_within(0.7, *shift(a.tolist(), b.tolist(), paired=paired)[1:])


def censored(draw: Draw) -> Iterator[Row]:
    """The log-rank test of a thing against itself where two in five do not get there."""
    few = draw._replace(trials=min(draw.trials, 1000))
    for n in (6, 10):
        told = partial(_log_rank_tells, draw.random, n)
        yield Row("false difference", f"log-rank, n = {n}", *few.share(told), 0, 0.05)


def _log_rank_tells(random: Random, n: int) -> bool:
    times = random.exponential(size=2 * n)
    reached, ends = (times < 0.9).tolist(), np.minimum(times, 0.9).tolist()
    return log_rank((ends[:n], reached[:n]), (ends[n:], reached[n:])) < ALPHA


def families(draw: Draw) -> Iterator[Row]:
    """Any verdict at all in a table of three rows that are about nothing."""

    def any_of_three() -> bool:
        tables = (sides(draw.random, "normal", 8, paired=True) for _ in range(3))
        p_values = [rank_test(a.tolist(), b.tolist(), paired=True) for a, b in tables]
        return min(holm(p_values)) < ALPHA

    yield Row("false in a table of 3", "Holm, paired, n = 8", *draw.share(any_of_three), 0, 0.05)


def sequential(draw: Draw) -> Iterator[Row]:
    """Pairs added until any look tells a thing from itself."""

    def any_look() -> bool:
        a, b = (x.tolist() for x in sides(draw.random, "normal", _MOST_PAIRS, paired=True))
        due = takewhile(lambda n: n <= _MOST_PAIRS, looks())
        return any(look_factor(n) * rank_test(a[:n], b[:n], paired=True) < ALPHA for n in due)

    yield Row("false at any look", f"up to {_MOST_PAIRS} pairs", *draw.share(any_look), 0, 0.05)


def intervals(draw: Draw) -> Iterator[Row]:
    """How often a printed interval of a median or of a shift holds the truth."""
    what = "interval holds the truth"
    for n, spacing in product((6, 12), (0.0, 0.05, 0.3)):
        case = f"median time, n = {n}, " + (f"read every {spacing:.0%}" if spacing else "exact")
        holds = partial(_holds_median, draw.random, n, spacing=spacing)
        yield Row(what, case, *draw.share(holds), *_COVERED)
    for n, slow in product((3, 5, 10), (0.0, 0.3)):
        case = f"mean speed, n = {n}, " + ("one run in ten 30 % slower" if slow else "2 % noise")
        held = draw.share(partial(_holds_mean, draw.random, n, slow=slow))
        yield Row(what, case, *held, *((0, 1) if slow else _COVERED))
    for case, n_b, spread, paired in (
        ("paired", 8, 1.0, True),
        ("unpaired", 8, 1.0, False),
        ("b scatters 3 times as much", 20, 3.0, False),
    ):
        shifted = partial(_holds_shift, draw.random, 8, n_b=n_b, spread=spread, paired=paired)
        yield Row(what, f"shift, {case}, 8 and {n_b}", *draw.share(shifted), *_COVERED)


def _holds_median(random: Random, n: int, *, spacing: float) -> bool:
    found = median_reading(read_between(random, n, spacing=spacing))
    return is_within(1.0, found.low, found.high)


def _holds_mean(random: Random, n: int, *, slow: float) -> bool:
    speeds = np.exp(0.02 * random.normal(size=n)) * (1 - slow * (random.random(n) < 0.1))
    _, low, high = mean_interval(speeds.tolist())
    truth = math.exp(0.02**2 / 2) * (1 - slow * 0.1)
    return is_within(truth, low, high)


def expected_times(draw: Draw) -> Iterator[Row]:
    """The same of the time until a success, where an interval is given."""
    few = draw._replace(trials=min(draw.trials, 500))
    for n, part in ((5, 0.8), (10, 0.8), (20, 0.8), (20, 0.95)):
        case = f"expected time, n = {n}, {part:.0%} get there"
        holds = partial(_holds_expected, draw.random, n, part=part)
        yield Row("interval holds the truth", case, *few.share(holds), *_COVERED)


def _holds_expected(random: Random, n: int, *, part: float) -> bool | None:
    reached = random.random(n) < part
    times = np.where(reached, np.exp(0.3 * random.normal(size=n) - 0.045), 3.0)
    found = expected_running_time(times.tolist(), reached.tolist())
    truth = 1 + 3 * (1 - part) / part
    return None if found.low is None else is_within(truth, found.low, found.high)


def gates(draw: Draw) -> Iterator[Row]:
    """``samples_per_s < -5%`` on pairs: fired within it by chance, passed and fired beyond it."""
    few = draw._replace(trials=min(draw.trials, 1000))
    for n, noise in product((4, 5, 8, 12, 20), (0.01, 0.05)):
        case = f"{noise:.0%} noise, n = {n}"
        for change, most in ((-0.04, 0.05), (-0.05, 0.05), (-0.1, 1.0)):
            fired = partial(_says, few.random, n, "fired", noise=noise, change=change)
            yield Row(f"gate of -5% fired at {change:.0%}", case, *few.share(fired), 0, most)
        passed = partial(_says, few.random, n, "passed", noise=noise, change=0.0)
        yield Row("gate of -5% passed at no change", case, *few.share(passed))


def _says(random: Random, n: int, state: str, *, noise: float, change: float) -> bool:
    return gate_state(random, n, noise=noise, change=change) == state


def drift(draw: Draw) -> Iterator[Row]:
    """Verdicts on the same code where the machine changed, and on other code where it did not."""
    few = draw._replace(trials=min(draw.trials, 500))
    stored, turns = "A" * 8 + "B" * 8, "ABBA" * 4
    for what, order, machine, code, most in (
        ("verdict on the same code", "A first each time", -0.1, 0.0, 0.05),
        ("verdict on the same code", "in turn", -0.1, 0.0, 0.05),
        ("verdict on the same code", "A before B", -0.05, 0.0, 0.05),
        ("verdict on the same code", "A before B", -0.22, 0.0, 0.05),
        ("verdict on other code", "in turn", -0.1, 0.05, 1.0),
        ("verdict on other code", "A before B", 0.0, 0.05, 1.0),
        ("verdict on other code", "A before B", 0.0, 0.3, 1.0),
    ):
        runs = {"A first each time": "AB" * 8, "in turn": turns, "A before B": stored}[order]
        told = partial(is_told_apart, few.random, runs, machine=machine, code=code)
        case = f"{order}, machine {machine:+.0%}, code {code:+.0%}, 8 and 8"
        yield Row(what, case, *few.share(told), 0, most)


def selection(draw: Draw) -> Iterator[Row]:
    """Of choices of a configuration that were said to be right by so much, how many were."""
    for times in (False, True):
        found = np.array([choice(draw.random, trial, times=times) for trial in range(draw.trials)])
        for low, high in _BINS:
            inside = found[(found[:, 0] >= low) & (found[:, 0] < high)]
            if len(inside):
                said, right = inside.mean(axis=0).tolist()
                case = f"{'times' if times else 'means'}, said {said:.0%}"
                yield Row("the best is", case, len(inside), right, said - 0.05, said + 0.05)


CHECKS: dict[str, Callable[[Draw], Iterator[Row]]] = {
    "levels": levels,
    "unequal spread": unequal_spread,
    "censored": censored,
    "families": families,
    "sequential": sequential,
    "intervals": intervals,
    "expected times": expected_times,
    "gates": gates,
    "drift": drift,
    "selection": selection,
}


def write(rows: list[Row], folder: Path, *, seconds: float) -> None:
    """The table as Markdown, the figures as JSON, and what was written to the screen."""
    cells = [
        {
            "counted": row.check,
            "case": row.case,
            "trials": f"{row.trials:,}",
            "share": f"{100 * row.share:.1f} %",
            "should be": _bounds(row),
            "holds": "yes" if row.holds else "no",
        }
        for row in rows
    ]
    lost = sum(not row.holds for row in rows)
    text = (
        f"`python -m bench.validate_statistics`: {len(rows)} counts in {seconds:.0f} s, of which "
        f"{lost} do not hold.\n\n"
    )
    data = [row._asdict() | {"holds": row.holds} for row in rows]
    publish(text + render_table(cells, "markdown"), folder, "validation", data=data)


def _bounds(row: Row) -> str:
    if (row.least, row.most) == (0, 1):
        return "–"
    if row.least == 0:
        return f"at most {100 * row.most:.1f} %"
    return f"{100 * row.least:.1f} to {100 * min(row.most, 1):.1f} %"


if __name__ == "__main__":
    raise SystemExit(main())
