"""The verdict names what was measured, how far it goes, and the reason."""

from dataclasses import replace

import pytest

from mnistbench.analysis.scaling.model import CostModel
from mnistbench.analysis.scaling.study import study_scaling
from mnistbench.analysis.scaling.verdict import check_line, verdict_lines
from mnistbench.schema.record import Link
from tests.analysis.scaling.made_sweep import make_sweep

pytestmark = pytest.mark.usefixtures("few_resamples")

PERFECT = CostModel(
    fixed_s=0.0,
    per_sample_s=1e-4,
    thread_power=1.0,
    call_s=0.0,
    link_share=1.0,
    wait_share=0.0,
    num_bytes=4 * 1000,
)
FAST = Link(latency_s=1e-7, bandwidth_bytes_per_s=1e11)
SLOW = Link(latency_s=2e-3, bandwidth_bytes_per_s=1e7)


def lines_of(**values):
    (report,) = study_scaling(make_sweep(**{"noise": 0.001, "cores": 64} | values))
    return verdict_lines(report)


def line_of(start="strong, batch 64", **values):
    (line,) = (line for line in lines_of(**values) if line.startswith(start + ":"))
    return line


def test_each_batch_and_kind_of_scaling_that_was_measured_has_a_sentence():
    starts = [line.split(":")[0] for line in lines_of()]
    assert starts == ["strong, batch 64", "strong, batch 256", "weak, batch 64 on each process"]


def test_processes_that_share_out_all_work_need_no_reason():
    line = line_of(truth=PERFECT, link=FAST)
    assert "2 processes: 2× samples/s, 2× to 97 %; 4 processes: 4× samples/s, 4× to 97 %; " in line
    assert line.endswith("gains up to 64: a batch of 64 has no samples for more")


def test_a_batch_past_its_useful_size_ends_weak_scaling():
    line = line_of("weak, batch 64 on each process", truth=PERFECT, link=FAST)
    assert "beyond " in line
    assert line.endswith("no gain: the batch is past its useful size")


def test_the_training_set_ends_weak_scaling_that_still_gains():
    slow_to_converge = [(64, 100_000), (256, 25_000)]
    records = []
    for batch, steps in slow_to_converge:
        for run in make_sweep(batches=(batch,), truth=PERFECT, link=FAST, cores=64):
            points = [p.model_copy(update={"step": steps + p.step}) for p in run.eval_points]
            records.append(run.model_copy(update={"eval_points": points}))
    (report,) = study_scaling(records)
    (line,) = (line for line in verdict_lines(report) if line.startswith("weak"))
    assert line.endswith("gains up to 512: the next batch is more than the training set")


def test_a_slow_link_is_named_as_what_costs():
    line = line_of(truth=PERFECT, link=SLOW)
    assert "communication is " in line
    assert line.endswith(
        "also with cores of their own, no gain: communication costs more than it saves"
    )


def test_what_is_fixed_in_a_step_is_named():
    truth = replace(PERFECT, fixed_s=0.05)
    line = line_of(truth=truth, link=FAST)
    assert "50 % of the samples take 94 % of the computing" in line
    assert "no gain: what is fixed in a step's computing does not shrink" in line


def test_a_process_that_is_late_is_named():
    truth = replace(PERFECT, wait_share=0.9)
    line = line_of(truth=truth, link=FAST)
    assert "processes wait 35 % of a step, mostly for process 1" in line


def test_cores_that_are_all_in_use_are_named_where_they_bound_the_gain():
    line = line_of(truth=PERFECT, link=FAST, cores=2)
    assert "2 processes: 2× samples/s, 2× to 97 %; " in line
    assert "4 processes: 2× samples/s, 2× to 97 % (the cores are all in use)" in line
    both = line_of(truth=PERFECT, link=FAST, cores=2, threads=lambda n: max(1, 2 // n))
    assert "2 processes (against one of 2 threads): 1× samples/s" in both
    assert "(the cores are all in use)" in both


def test_a_difference_within_the_noise_is_said_to_be_none():
    line = line_of(cores=2, noise=0.2, threads=lambda n: max(1, 2 // n))
    assert "samples/s (no difference seen)" in line


def test_steps_that_were_not_split_have_no_reason_made_up():
    line = line_of(split=False, link=SLOW)
    assert "the parts of a step were not measured" in line


def test_what_was_not_measured_or_not_reached_is_said():
    beside = line_of(environment={"measured_alone": False})
    assert "2 processes: samples/s not measured alone, no ratio of times to 97 %" in beside
    assert beside.endswith("more processes were not predicted")
    lost = line_of(reached=False)
    assert "samples/s, no ratio of times to 97 %" in lost


def test_held_out_processes_are_said_with_their_largest_error():
    records = make_sweep(noise=0.01)
    (report,) = study_scaling(records, fit_on=[1, 2])
    line = check_line(report)
    assert line.startswith("checked: fitted on 1, 2 processes, the model predicts the samples/s of")
    errors = [abs(check.speed_error) for check in report.checks]
    assert f"2 held out within {100 * max(errors):.0f} %" in line
    assert max(errors) < 0.05
    assert check_line(study_scaling(make_sweep(cores=64))[0]) is None


@pytest.mark.parametrize("fit_on", [[2], [1]])
def test_a_model_of_too_little_predicts_nothing_of_what_was_held_out(fit_on):
    records = [run for n in (1, 2) for run in make_sweep((n,), (64 * n * n,))]
    (report,) = study_scaling(records, fit_on=fit_on)
    assert check_line(report) == "checked: the model could not predict what was held out"
