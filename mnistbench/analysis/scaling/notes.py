"""What has to be said below a scaling report: its model, what it takes for granted, what lacks."""

from __future__ import annotations

from mnistbench.analysis.cells import goal
from mnistbench.analysis.scaling.model import CostModel
from mnistbench.analysis.scaling.prediction import NO_GAIN, Predictor
from mnistbench.analysis.scaling.steps import FEWEST_SEEDS
from mnistbench.analysis.scaling.study import ScalingReport
from mnistbench.analysis.scoring import reading_to_target
from mnistbench.analysis.stability import mark_notes, ran_beside_others
from mnistbench.schema.record import Link, RunRecord

__all__ = ["link_text", "scaling_notes"]

_COARSE = 0.1
"""Evaluations farther apart than this part of the steps to the target are said."""


def scaling_notes(report: ScalingReport) -> list[str]:
    """The lines below the tables, each of them once."""
    runs = [run for setup in report.family.setups for run in setup.runs]
    found = [_seeds_apart(report), _grain(report, runs), _learning_rates(report)]
    lines = [*_gains(report), *_predictions(report), *_runs(report, runs), *filter(None, found)]
    return lines + mark_notes([setup.alone for setup in report.family.setups])


def link_text(link: Link | None) -> str:
    """A link's latency and bandwidth; empty for none."""
    if link is None:
        return ""
    speed = link.bandwidth_bytes_per_s / 1e6
    shown = f"{speed:.3g}" if speed < 100 else f"{speed:,.0f}"
    return f"{1000 * link.latency_s:.3g} ms, {shown} MB/s"


def _gains(report: ScalingReport) -> list[str]:
    lines = [
        "strong: against one process with the same global batch; weak: with the same batch on each",
        f"× to {goal(report.target)} is about = step time (hardware) times × steps (statistics)",
    ]
    if any(
        gain.base.num_threads != row.setup.num_threads
        for row in report.measured
        for gain in row.gains
    ):
        lines.append("one process was not measured with as few threads: it is compared with more")
    return lines


def _predictions(report: ScalingReport) -> list[str]:
    predictor = report.predictor
    if predictor is None:
        return ["no run was timed alone, so that nothing is predicted"]
    fit = predictor.fit
    lines = [_compute(fit.model), _exchange(fit.model), _steps(predictor, report.target)]
    lines += [f"the model: {assumption}" for assumption in fit.assumptions]
    if report.family.setups[0].runs[0].config.get("exact_parity"):
        lines.append("exact_parity sends more than the all-reduce that is predicted")
    if report.outlooks:
        first = report.outlooks[0].rows[-1].setting
        link = f", over a link of {link_text(first.link)}" if first.link else ""
        threads = f"{first.num_threads} thread{'s' * (first.num_threads > 1)}"
        lines.append(
            f"predicted: each process with {threads} on cores of its own{link}; less than "
            f"{100 * (NO_GAIN - 1):.0f} % is no gain"
        )
        lines.append(_spread(predictor))
    return lines


def _compute(model: CostModel) -> str:
    threads = f", by threads to the power {model.thread_power:.2f}"
    return (
        f"the model: a process computes {_ms(model.fixed_s)} and {_ms(model.per_sample_s)} per "
        f"sample{threads if model.thread_power != 1 else ''}"
    )


def _exchange(model: CostModel) -> str:
    share = "" if model.link_share == 1 else f" times {model.link_share:.2f}"
    link = f"the link's time round a ring{share}"
    if model.link is not None:
        link = f"a link of {link_text(model.link)}, as fitted, round a ring"
    wait = f"; processes vary by {100 * model.wait_share:.1f} %" if model.wait_share else ""
    return (
        f"the model: an exchange of {model.num_bytes / 1e6:.3g} MB takes {_ms(model.call_s)} and "
        f"{link}{wait}"
    )


def _steps(predictor: Predictor, target: float) -> str:
    steps = predictor.steps
    if not steps.reached:
        return f"the model: {goal(target)} was not reached, so that no time to it is predicted"
    if steps.min_steps is None:
        return (
            f"the model: steps to {goal(target)} are known at batch {steps.reached[0]} only; sweep "
            "over --global-batch-size for others"
        )
    noise = f"{steps.noise_batch:,.0f}" if steps.noise_batch is not None else "∞"
    return (
        f"the model: {steps.min_steps:,.0f} · (1 + {noise} / batch) steps to {goal(target)}; "
        f"batches measured up to {steps.reached[-1]}"
    )


def _spread(predictor: Predictor) -> str:
    residual = predictor.fit.residual
    if residual is None and not predictor.repeated:
        return "no interval: no setup was run twice, and the model has no figure to spare"
    if residual is None:
        return (
            "intervals hold the spread between runs alone: the model has as many parameters as "
            "there are figures, so that how far it is off is not known"
        )
    runs = "the spread between runs and " if predictor.repeated else ""
    return (
        f"intervals (95 %) hold {runs}the model's distance from the fitted steps, "
        f"{100 * residual:.1f} %"
    )


def _runs(report: ScalingReport, runs: list[RunRecord]) -> list[str]:
    lines = []
    if beside := sum(map(ran_beside_others, runs)):
        lines.append(f"{beside} of {len(runs)} runs shared their cores: their times are left out")
    if lost := sum(run.status != "completed" for run in runs):
        lines.append(f"{lost} of {len(runs)} runs did not complete: they count to the target only")
    commits = {str(run.environment.get("git_commit"))[:10] for run in runs}
    if len(commits) > 1:
        lines.append(f"runs are of {len(commits)} commits: {', '.join(sorted(commits))}")
    if min(len(setup.runs) for setup in report.family.setups) < FEWEST_SEEDS:
        lines.append(f"fewer than {FEWEST_SEEDS} seeds give no interval of a ratio of times")
    return lines


def _seeds_apart(report: ScalingReport) -> str | None:
    """A seed and batch that took other steps on other processes: then these were not one run."""
    found: dict[tuple[int, int], set[float]] = {}
    for setup in report.family.setups:
        for run in setup.runs:
            reading = reading_to_target(run, report.target, steps=True)
            if reading.reached:
                found.setdefault((setup.global_batch_size, run.seed), set()).add(reading.value)
    apart = {key: steps for key, steps in found.items() if len(steps) > 1}
    if not apart:
        return None
    (batch, seed), steps = next(iter(apart.items()))
    said = " and ".join(f"{count:.0f}" for count in sorted(steps))
    return (
        f"{len(apart)} of {len(found)} runs took other steps to {goal(report.target)} on other "
        f"processes, such as seed {seed} at batch {batch}: {said}"
    )


def _grain(report: ScalingReport, runs: list[RunRecord]) -> str | None:
    """The steps between evaluations, where a time to the target cannot be read finer."""
    grains = []
    for run in runs:
        evaluated = [p.step for p in run.eval_points if p.split == run.config.get("eval_split")]
        reading = reading_to_target(run, report.target, steps=True)
        before = [step for step in evaluated if step < reading.value]
        if reading.reached and reading.value > 0:
            grains.append((reading.value - max(before, default=0)) / reading.value)
    if not grains or max(grains) <= _COARSE:
        return None
    return (
        f"evaluations lie up to {100 * max(grains):.0f} % of the way to {goal(report.target)} "
        "apart, and times to it are read no finer; use --eval-every-steps"
    )


def _learning_rates(report: ScalingReport) -> str | None:
    rule = report.family.setups[0].runs[0].config.get("lr_scaling", "none")
    if rule == "none":
        return None
    peaks = {
        setup.num_processes: setup.runs[0].environment.get("lr_peak")
        for setup in report.family.setups
    }
    said = ", ".join(f"{peak:g} at {count}" for count, peak in peaks.items() if peak)
    return f"learning rate: {rule} in the number of processes: {said}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
