"""How far the numbers of `report scaling` can be trusted, by simulation.

Does the interval of a speed-up hold the true one in 95 of 100 cases? How far is the model of a step
off where setups vary, and where steps follow another law?

    python -m bench.validate_scaling                     # a minute on one core
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles

import numpy as np

from bench.publishing import publish
from mnistbench.analysis.scaling.model import StepModel, fit_step, ring_s
from mnistbench.output.tables import render_table
from mnistbench.schema.record import Link
from mnistbench.stats.intervals import ratio_interval

RESULTS = Path(__file__).parent / "results" / "scaling"
LINK = Link(latency_s=5e-5, bandwidth_bytes_per_s=1e9)
NUM_BYTES = 400_000
BATCHES = (64, 128, 256)
TRUTH = StepModel(fixed_s=1e-3, per_sample_s=5e-5, call_s=3e-4, num_bytes=NUM_BYTES, link=LINK)


def model_law(count: int, batch: int) -> float:
    """Seconds of a step, as the model has it."""
    return TRUTH.step_s(count, batch) or math.nan


def waiting_law(count: int, batch: int) -> float:
    """The same, and a tenth of the computing more to wait with each doubling."""
    compute_s = TRUTH.fixed_s + TRUTH.per_sample_s * batch / count
    return model_law(count, batch) + 0.1 * math.log2(count) * compute_s


def shared_link_law(count: int, batch: int) -> float:
    """The same, where all who send at once share one cable, which two find to be the link."""
    others = max(0, count - 2)
    return model_law(count, batch) + others * ring_s(LINK, count, num_bytes=NUM_BYTES)


LAWS: dict[str, Callable[[int, int], float]] = {
    "the model": model_law,
    "10 % of waiting a doubling": waiting_law,
    "a link shared by all": shared_link_law,
}


def speedup_coverage(
    num_runs: int, spreads: tuple[float, float], *, slow_share: float = 0.0, trials: int = 4000
) -> float:
    """The share of `trials` whose interval of a speed-up holds the true one.

    Args:
        num_runs: of either side.
        spreads: deviations of the logarithm of a run's speed on one process and on several.
        slow_share: of all runs that take 20 % longer, as beside a neighbour.
        trials: to simulate.
    """
    draw = np.random.default_rng([num_runs, *(round(1e4 * spread) for spread in spreads)])
    shape = (trials, 2, num_runs)
    logs = draw.standard_normal(shape) * np.array(spreads)[:, None]
    # the same on both sides, so that the true ratio stays 1
    logs -= math.log(1.2) * (draw.random(shape) < slow_share)
    held = 0
    for base, values in np.exp(logs).tolist():
        found = ratio_interval(base, values)
        held += (found.low or 0.0) <= 1 <= (found.high or math.inf)
    return held / trials


def model_errors(
    law: Callable[[int, int], float], noise: float, *, at: int, trials: int = 500
) -> list[float]:
    """Predicted over true samples/s, less 1, at so many processes, of models of 1 and 2.

    Args:
        law: seconds of a step by processes and global batch.
        noise: deviation of the logarithm of each setup's mean step from `law`.
        at: processes to predict.
        trials: to simulate, each at all batches.
    """
    draw = np.random.default_rng([round(1e4 * noise), at])
    places = [(count, batch) for count in (1, 2) for batch in BATCHES]
    errors = []
    for _ in range(trials):
        factors = np.exp(noise * draw.standard_normal(len(places))).tolist()
        times = [(*at_, law(*at_) * f) for at_, f in zip(places, factors, strict=True)]
        model = fit_step(times, LINK, num_bytes=NUM_BYTES)
        assert model is not None
        errors += [law(at, b) / (model.step_s(at, b) or math.nan) - 1 for b in BATCHES]
    return errors


def coverage_rows(trials: int) -> list[dict[str, str]]:
    """The coverage of the interval of a speed-up: a row for each kind of spread."""
    kinds: dict[str, tuple[tuple[float, float], float]] = {
        "2 % on both sides": ((0.02, 0.02), 0.0),
        "1 % and 5 %": ((0.01, 0.05), 0.0),
        "2 %, and 1 run of 10 is 20 % slower": ((0.02, 0.02), 0.1),
    }
    rows = []
    for kind, (spreads, slow) in kinds.items():
        shares = {
            n: speedup_coverage(n, spreads, slow_share=slow, trials=trials) for n in (3, 5, 8)
        }
        columns = {f"n = {n}": f"{100 * share:.1f} %" for n, share in shares.items()}
        rows.append({"runs vary by": kind} | columns)
    return rows


def error_rows(trials: int) -> list[dict[str, str]]:
    """The model's errors: a row for each law and noise."""
    return [
        {"steps follow": name, "setups vary by": f"{100 * noise:g} %"}
        | {
            f"{at} processes": ends(model_errors(law, noise, at=at, trials=trials))
            for at in (4, 8, 16)
        }
        for name, law in LAWS.items()
        for noise in (0.0, 0.02, 0.05)
    ]


def ends(errors: Sequence[float]) -> str:
    """The middle 95 % of `errors`, in percent."""
    cuts = quantiles(errors, n=40, method="inclusive")
    return f"{100 * cuts[0]:+.0f} to {100 * cuts[-1]:+.0f} %"


def main() -> None:
    """Simulate both, print them and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4000)
    trials = parser.parse_args().trials
    tables = {
        "How often the 95 % interval of a speed-up holds the true one": coverage_rows(trials),
        "Error of predicted samples/s, the middle 95 %; the model is fitted on 1 and 2 processes "
        f"at batches {', '.join(map(str, BATCHES))}": error_rows(max(100, trials // 8)),
    }
    text = "\n\n".join(f"{title}:\n\n{render_table(r, 'markdown')}" for title, r in tables.items())
    lead = "# The numbers of a scaling report, simulated\n\n`python -m bench.validate_scaling`"
    publish(f"{lead}\n\n{text}", RESULTS, "validation")


if __name__ == "__main__":
    main()
