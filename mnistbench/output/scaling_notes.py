"""What has to be said below a scaling report: its model, what it takes for granted, what lacks."""

from __future__ import annotations

from mnistbench.analysis.differences import code_of
from mnistbench.analysis.number_text import goal
from mnistbench.analysis.scaling.model import CostModel
from mnistbench.analysis.scaling.outlook import NO_GAIN
from mnistbench.analysis.scaling.prediction import Predictor
from mnistbench.analysis.scaling.setups import Setup
from mnistbench.analysis.scaling.steps import StepsToTarget
from mnistbench.analysis.scaling.study import ScalingReport
from mnistbench.analysis.scoring import reading_to_target
from mnistbench.analysis.stability import mark_notes, ran_beside_others
from mnistbench.output.number_format import MEDIAN_NOTE
from mnistbench.schema.record import Link, RunRecord
from mnistbench.stats.resampling import FEWEST_FOR_MEDIANS

__all__ = ["link_text", "scaling_notes"]

_COARSE = 0.1
"""Evaluations farther apart than this part of the steps to the target are said."""


def scaling_notes(report: ScalingReport) -> list[str]:
    """The lines below the tables, each of them once."""
    found = [_seeds_apart(report), _grain(report), _learning_rates(report)]
    lines = [*_gains(report), *_predictions(report), *_runs(report), *filter(None, found)]
    return lines + mark_notes([setup.alone for setup in report.family.setups])


def link_text(link: Link | None) -> str:
    """A link's latency and bandwidth; empty for none."""
    if link is None:
        return ""
    speed = link.bandwidth_bytes_per_s / 1e6
    shown = f"{speed:.3g}" if speed < 100 else f"{speed:,.0f}"
    return f"{_ms(link.latency_s)}, {shown} MB/s"


def _gains(report: ScalingReport) -> list[str]:
    lines = [
        "samples/s: mean ± half the width of its 95 % interval",
        f"s and steps to {goal(report.target)}: medians over seeds {MEDIAN_NOTE}",
        "strong: against one process with the same global batch; weak: with the same batch on each",
        f"× to {goal(report.target)} is about = step time (hardware) times × steps (statistics)",
    ]
    gains = [(row.setup, gain) for row in report.measured for gain in row.gains]
    if any(gain.base.num_threads != setup.num_threads for setup, gain in gains):
        lines.append(
            "one process was not measured with as few threads, and is compared with more; "
            "efficiency is for as many threads"
        )
    if any(s.num_machines > 1 and s.num_cores for s in report.family.setups):
        lines.append("machines of a run are taken to have cores of their own each")
    return lines


def _predictions(report: ScalingReport) -> list[str]:
    predictor = report.predictor
    if predictor is None:
        return ["nothing is predicted: no run that tells a step's cost was timed alone"]
    fit, model = predictor.fit, predictor.fit.model
    lines = [_compute(model), _steps(predictor.steps, report.target)]
    if fit.exchange_known:
        lines.insert(1, _exchange(model))
    lines += [f"the model: {assumption}" for assumption in fit.assumptions]
    if report.family.setups[0].runs[0].config.get("exact_parity"):
        lines.append("exact_parity sends more than the all-reduce that is predicted")
    if report.outlooks:
        first = report.outlooks[0].rows[-1].setting
        count = predictor.setups[0].num_threads
        lines.append(
            f"predicted: each process with {count} thread{'s' * (count > 1)} on cores of its own, "
            f"over {link_text(first.link)}; less than {100 * (NO_GAIN - 1):.0f} % is no gain"
        )
    return [*lines, _spread(predictor), *_not_fitted(report, predictor)]


def _compute(model: CostModel) -> str:
    beside = f", and {_ms(model.several_s)} beside others" if model.several_s else ""
    return (
        f"the model: a process computes {_ms(model.fixed_s)} and "
        f"{_ms(model.per_sample_s)} per sample{beside}"
    )


def _exchange(model: CostModel) -> str:
    share = "" if model.link_share == 1 else f" times {model.link_share:.2f}"
    call = f"{_ms(model.call_s)} and " if model.call_s else ""
    wait = f"; processes vary by {100 * model.wait_share:.1f} %" if model.wait_share else ""
    return (
        f"the model: an exchange of {model.num_bytes / 1e6:.3g} MB takes {call}the link's time "
        f"round a ring{share}{wait}"
    )


def _steps(steps: StepsToTarget, target: float) -> str:
    to = f"steps to {goal(target)}"
    if not steps.reached:
        return f"the model: {goal(target)} was not reached, so that no time to it is predicted"
    if steps.curve is None:
        return (
            f"the model: {to} are known at batch {next(iter(steps.reached))} only; sweep over "
            "--global-batch-size for others"
        )
    low, samples = steps.curve
    noise_batch = steps.noise_batch or 0.0
    curve = f"{low:,.0f} · (1 + {noise_batch:,.0f} / batch)"
    if low < 1:
        curve = f"{samples:,.0f} / batch"
    elif noise_batch < 1:
        curve = f"at any batch {low:,.0f}"
    unsure = ""
    if len(steps.reached) == 2:
        unsure = ", and two say not how sure that is; sweep over a third --global-batch-size"
    return f"the model: {curve} {to}; batches measured up to {max(steps.reached):,}{unsure}"


def _spread(predictor: Predictor) -> str:
    residual = predictor.fit.residual
    if all(len(setup.step_times) < 2 for setup in predictor.setups):
        return "no intervals: no setup was run twice; sweep over --seed 0..4"
    if residual is None:
        return (
            "intervals hold the spread between runs alone: the model has as many parameters as "
            "there are figures, so that how far it is off is not known"
        )
    return (
        "intervals (95 %) hold the spread between runs and the model's distance from the fitted "
        f"steps, {100 * residual:.1f} %"
    )


def _not_fitted(report: ScalingReport, predictor: Predictor) -> list[str]:
    lines = []
    checked = [check.measured.setup for check in report.checks]
    if crowded := [s for s in checked if s.contention > 1]:
        lines.append(
            f"{_named(crowded)} have more threads than cores: the model lets them take turns, "
            "but not wait for a turn in the midst of an exchange"
        )
    threads = predictor.setups[0].num_threads
    others = [s for s in report.left_out if s.num_threads != threads]
    unstable = [s for s in report.left_out if s.num_threads == threads]
    if others:
        lines.append(
            f"not fitted, {_named(others)}: other threads than the {threads} of most processes; "
            "sweep with --num-threads"
        )
    if unstable:
        lines.append(f"not fitted, {_named(unstable)}: the machine's own speed moved")
    return lines


def _named(setups: list[Setup]) -> str:
    return ", ".join(dict.fromkeys(setup.shape for setup in setups))


def _runs(report: ScalingReport) -> list[str]:
    lines, runs = [*report.unseen], report.family.runs
    if beside := sum(map(ran_beside_others, runs)):
        lines.append(f"{beside} of {len(runs)} runs shared their cores: their times are left out")
    if lost := sum(run.status != "completed" for run in runs):
        lines.append(f"{lost} of {len(runs)} runs did not complete: they count to the target only")
    commits = sorted(set(map(code_of, runs)))
    if len(commits) > 1:
        lines.append(f"runs are of {len(commits)} commits: {', '.join(commits)}")
    if min(len(setup.runs) for setup in report.family.setups) < FEWEST_FOR_MEDIANS:
        lines.append(f"fewer than {FEWEST_FOR_MEDIANS} seeds give no interval of a ratio of times")
    return lines


def _seeds_apart(report: ScalingReport) -> str | None:
    """A seed and batch that took other steps on other processes: then these were not one run."""
    found: dict[tuple[int, int], list[float]] = {}
    for setup in report.family.setups:
        for run in setup.runs:
            reading = reading_to_target(run, report.target, steps=True)
            if reading.reached:
                found.setdefault((setup.global_batch_size, run.seed), []).append(reading.value)
    shared = {key: steps for key, steps in found.items() if len(steps) > 1}
    apart = {key: sorted(set(steps)) for key, steps in shared.items() if len(set(steps)) > 1}
    if not apart:
        return None
    (batch, seed), steps = next(iter(apart.items()))
    said = " and ".join(f"{count:.0f}" for count in steps)
    return (
        f"{len(apart)} of {len(shared)} seeds took other steps to {goal(report.target)} on other "
        f"processes, such as seed {seed} at batch {batch}: {said}"
    )


def _grain(report: ScalingReport) -> str | None:
    """The steps between evaluations, where a time to the target cannot be read finer."""
    grains = [grain for run in report.family.runs if (grain := _grain_of(run, report.target))]
    if not grains or max(grains) <= _COARSE:
        return None
    return (
        f"evaluations lie up to {100 * max(grains):.0f} % of the way to {goal(report.target)} "
        "apart, and times to it are read no finer; use --eval-every-steps"
    )


def _grain_of(run: RunRecord, target: float) -> float | None:
    evaluated = [p.step for p in run.eval_points if p.split == run.config.get("eval_split")]
    reading = reading_to_target(run, target, steps=True)
    if not reading.reached or reading.value <= 0:
        return None
    before = max((step for step in evaluated if step < reading.value), default=0)
    return (reading.value - before) / reading.value


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
