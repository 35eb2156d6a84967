"""The verdict names what was measured, how far it goes, and the reason."""

from dataclasses import replace

import pytest

from mnistbench.analysis.scaling.model import CostModel
from mnistbench.analysis.scaling.study import Choice, study_scaling
from mnistbench.output.scaling_verdict import check_line, verdict_lines
from mnistbench.schema.record import Canary, CanaryReading, Link
from tests.made_sweep import make_sweep

pytestmark = pytest.mark.usefixtures("few_resamples")

PERFECT = CostModel(
    fixed_s=0.0,
    per_sample_s=1e-4,
    several_s=0.0,
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
    assert (
        "2 processes: 2.0× samples/s, 2.0× to 97 %; 4 processes: 4.0× samples/s, 4.0× to 97 %; "
        in line
    )
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
    assert line.endswith("; beyond 1, no gain: communication costs more than it saves")


def test_what_is_fixed_in_a_step_is_named():
    truth = replace(PERFECT, fixed_s=0.05)
    line = line_of(truth=truth, link=FAST)
    assert "(computing takes 1.9 times its share)" in line
    assert "no gain: computing does not shrink with the samples" in line


def test_a_process_that_is_late_is_named():
    truth = replace(PERFECT, wait_share=0.9)
    line = line_of(truth=truth, link=FAST)
    assert "processes wait 35 % of a step, mostly for process 1" in line


def test_cores_that_are_all_in_use_are_named_where_they_bound_the_gain():
    line = line_of(truth=PERFECT, link=FAST, cores=2)
    assert "2 processes: 2.0× samples/s, 2.0× to 97 %; " in line
    assert "4 processes: 2.0× samples/s, 2.0× to 97 % (the cores are all in use)" in line
    assert "; on cores of their own, gains up to 64: " in line


def test_threads_that_one_process_had_are_the_reason_where_no_core_is_short():
    line = line_of(truth=PERFECT, link=FAST, processes=(1, 2), threads=lambda n: 2 // n)
    assert "2 processes: 1.2× samples/s" in line
    assert "(one process had 2 threads)" in line
    assert "the cores are all in use" not in line


def test_a_loss_in_computing_is_beside_the_share_that_so_many_threads_have():
    """Four threads in place of two: half of the computing is their share, and they take it."""
    records = [
        *make_sweep(processes=(1,), batches=(64,), threads=2, cores=64, truth=PERFECT, noise=0.001),
        *make_sweep(
            processes=(4,),
            batches=(64,),
            cores=64,
            truth=replace(PERFECT, fixed_s=5e-3),
            noise=0.001,
        ),
    ]
    (report,) = study_scaling(records)
    (line,) = verdict_lines(report)
    alone_s, share_s = 64e-4 / 2**0.7, 5e-3 + 16e-4
    assert f"computing takes {share_s / (alone_s / 2):.2g} times its share" in line


def test_setups_of_as_many_processes_are_told_apart():
    records = make_sweep(processes=(1,), batches=(64,), cores=64)
    for link in (FAST, SLOW):
        records += make_sweep(processes=(2,), batches=(64,), cores=64, link=link)
    (report,) = study_scaling(records)
    line = verdict_lines(report)[0]
    assert "2 processes (0.0001 ms, 100,000 MB/s): " in line
    assert "2 processes (2 ms, 10 MB/s): " in line


def test_times_of_a_machine_that_moved_have_the_mark_of_tables():
    slow = CanaryReading(matmul_flops_per_s=1.0, copy_bytes_per_s=1.0)
    fast = CanaryReading(matmul_flops_per_s=2.0, copy_bytes_per_s=1.0)
    records = make_sweep(processes=(1, 2, 4), batches=(64,), cores=64)
    records[5] = records[5].model_copy(update={"canary": Canary(before=slow, after=fast)})
    (line,) = verdict_lines(study_scaling(records)[0])
    two, four = line.split("; ")[:2]
    assert "samples/s†" in two
    assert "to 97 %†" in two
    assert "†" not in four


def test_a_larger_batch_that_takes_nearly_as_many_steps_is_named():
    line = line_of("weak, batch 64 on each process", truth=PERFECT, link=FAST)
    assert "4 times the batch takes 33 % of the steps" in line


def test_a_difference_within_the_noise_is_said_to_be_none():
    line = line_of(truth=PERFECT, link=FAST, noise=0.3, threads=lambda n: max(1, 2 // n))
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
    (report,) = study_scaling(records, Choice(fit_on=(1, 2)))
    line = check_line(report)
    assert line.startswith("checked: fitted on 1, 2 processes, the model is within ")
    errors = [abs(check.speed_error) for check in report.checks]
    assert f"{100 * max(errors):.0f} % of the samples/s of 2 of 2 setups held out" in line
    assert line.endswith("(over the link of those, some with more threads than cores)")
    assert max(errors) < 0.1
    assert check_line(study_scaling(make_sweep(cores=64))[0]) is None


@pytest.mark.parametrize("fit_on", [[2], [1]])
def test_a_model_of_too_little_predicts_nothing_of_what_was_held_out(fit_on):
    records = [run for n in (1, 2) for run in make_sweep((n,), (64 * n * n,))]
    (report,) = study_scaling(records, Choice(fit_on=tuple(fit_on)))
    assert check_line(report) == "checked: the model could not predict what was held out"
