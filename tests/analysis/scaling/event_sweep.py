"""Runs of a sweep as events make them: each process computes, the last is waited for, all exchange.

No formula of the cost model is used here: steps have slow ones among them, computing has a tail,
and an exchange is its messages, one after the other.
"""

import numpy as np

from mnistbench.schema.record import Link, StepSplit, Throughput
from tests.made_sweep import make_run

__all__ = ["event_run", "event_sweep"]

STEPS = 300
FIXED_S, PER_SAMPLE_S, JOIN_S, CALL_S = 5e-4, 4e-5, 2e-4, 1.5e-4
LATENCY_S, BYTES_PER_S, NUM_BYTES = 4e-5, 1.5e9, 400_000


def event_sweep(processes, batches, *, seeds=range(5), **values):
    """A run for each; see `event_run`."""
    return [event_run(n, b, seed, **values) for n in processes for b in batches for seed in seeds]


def event_run(count, batch, seed, *, slower=1.0, draw=0):
    """A run of `count` processes, with a core each, over a link that is `slower` than usual."""
    rng = np.random.default_rng([draw, count, batch, seed, round(10 * slower)])
    # a machine is not as fast in each run, nor in each step
    compute = (FIXED_S + PER_SAMPLE_S * batch / count + JOIN_S * (count > 1)) * np.exp(
        0.02 * rng.normal() + 0.05 * rng.gumbel(size=(STEPS, count))
    )
    compute *= np.where(rng.random((STEPS, 1)) < 0.02, 4.0, 1.0)
    last = compute.max(axis=1)
    exchange = _exchanges_s(rng, count, slower=slower)
    inside = last[:, None] - compute + exchange[:, None]
    shortest = inside.min(axis=1)
    steps = last + exchange
    split = StepSplit(
        compute_s=float(np.median(compute.mean(axis=1))),
        communication_s=float(np.median(shortest)) if count > 1 else 0.0,
        wait_s=float(np.median((inside - shortest[:, None]).mean(axis=1))),
        skew_s=float(np.median(np.ptp(compute, axis=1))),
        slowest_process=int(inside.sum(axis=0).argmin()),
    )
    found = slower * float(np.exp(0.4 * rng.normal()))  # as the run reads its link
    link = Link(latency_s=LATENCY_S * found, bandwidth_bytes_per_s=BYTES_PER_S / found)
    made = make_run(count, batch, seed, cores=64, noise=0.0)
    return made.model_copy(
        update={
            "link": link if count > 1 else None,
            "num_parameters": NUM_BYTES // 4,
            "throughput": Throughput(samples_per_s=batch / float(steps.mean()), step_split=split),
        }
    )


def _exchanges_s(rng, count, *, slower):
    """Seconds of each step's exchange: a chunk to the next in the ring, until all have all."""
    if count == 1:
        return np.zeros(STEPS)
    messages = 2 * (count - 1)
    latency = LATENCY_S * slower * np.exp(0.3 * rng.normal(size=(STEPS, messages)))
    carried = NUM_BYTES / count / (BYTES_PER_S / slower)
    return CALL_S + (latency + carried).sum(axis=1)
