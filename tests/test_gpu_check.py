"""The GPU check without a GPU: each check can fail, nothing is lost, fake CUDA tensors."""

import json
import signal
import sys
import time
from functools import partial

import pytest
import torch
from torch import nn

from bench.gpu_check import (
    curves,
    fake_device,
    graphs,
    instruments,
    labels,
    packages,
    processes,
    recipes,
    resuming,
    speed,
    supervising,
)
from bench.gpu_check.__main__ import main
from bench.gpu_check.commands import records_in
from bench.gpu_check.findings import Finding, Outcome, Setup, slug
from bench.gpu_check.results import (
    Results,
    attempted,
    exit_status,
    markdown_table,
    section_text,
    summary,
)
from bench.gpu_check.sections import SECTIONS, Section, allotted_s
from bench.gpu_check.seen import watched_layers
from mnistbench.schema.config import RunConfig
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.models import build_model

FINDING = Finding(check="a | b", expected="1", found="2", holds=False, values={"s": 0.25})


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """Sizes for a moment on a CPU."""
    monkeypatch.setattr("mnistbench.workload.datasets.TEST_IMAGES", 200)
    return Setup(
        scratch=tmp_path,
        device_type="cpu",
        steps=12,
        batch_size=16,
        num_seeds=1,
        resumed_steps=60,
        num_threads=1,
    )


@pytest.fixture
def results(tmp_path):
    return Results(folder=tmp_path / "out", facts={"card": "none"}, remarks=["x is missing"])


# --- what fake CUDA tensors show ---


@pytest.mark.slow
def test_every_update_could_be_captured_or_is_known_to_read_the_host():
    wrong = {f.check: f.found for f in fake_device.check(Setup(scratch=None)) if not f.holds}
    assert wrong == {}
    assert len(fake_device.CASES) > 45


class Planted(nn.Module):
    """A linear network with something in its way."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.last = nn.Linear(784, 10)

    def forward(self, images):
        pixels = images.flatten(1)
        if self.fault == "item":
            pixels = pixels * pixels.mean().item()
        elif self.fault == "branch":
            pixels = pixels if pixels.sum() > 0 else -pixels
        elif self.fault == "cpu tensor":
            pixels = pixels * torch.ones(784)
        elif self.fault == "cpu number":
            pixels = pixels * torch.tensor(0.5, device="cpu")
        elif self.fault == "copy":
            pixels = pixels * torch.ones(784).to(images.device)
        elif self.fault == "to the host":
            pixels.sum().to("cpu")
        return self.last(pixels)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (None, "as expected"),
        ("item", "read from Python"),
        ("branch", "read from Python"),
        ("cpu tensor", "on cpu and cuda"),
        ("cpu number", "on cpu and cuda"),
        ("copy", "from cpu to cuda"),
        ("to the host", "from cuda to cpu"),
    ],
)
def test_what_is_planted_in_a_network_is_found(fault, says):
    found = fake_device.check_case(fake_device.Case("x", {}), build=lambda *_: Planted(fault))
    assert found.holds is (fault is None)
    assert says in found.found


def test_an_optimizer_that_no_longer_reads_the_host_is_told():
    case = fake_device.Case("sgd", {"optimizer": "sgd"}, reads_host=True)
    assert fake_device.check_case(case).holds is False


@pytest.mark.slow
def test_the_fake_form_by_its_command(tmp_path, capsys):
    assert main(["--on-fake-device", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "model speedrun-cnn" in said
    assert ", 0 do not" in said
    assert json.loads((tmp_path / "results.json").read_text())["sections"]["fake"]["findings"]


# --- usage ---


def test_without_cuda_one_line_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "gpu_check: error: no CUDA here; run it on a machine with a GPU, or add --on-fake-device"
    ]


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "x", "601"])
def test_minutes_that_are_none_are_refused(minutes, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--minutes", minutes])
    assert stop.value.code == 2
    assert "--minutes" in capsys.readouterr().err


def test_what_is_missing_is_said_in_a_line_each():
    lines = packages.remarks(has=lambda module: module not in {"tabulate", "pynvml", "torchao"})
    assert [line.split(" is missing")[0] for line in lines] == ["tabulate", "nvidia-ml-py"]
    only_torch = packages.remarks(has=lambda _: False)
    assert all("pip install" in line for line in only_torch)
    assert packages.missing_for("resuming", has=lambda module: module != "tabulate") == ["tabulate"]
    assert packages.missing_for("labels", has=lambda module: module != "tabulate") == []


# --- results are kept, whatever happens ---


def test_shares_are_of_what_is_left():
    assert sum(section.share for section in SECTIONS.values()) == 100
    first = allotted_s("labels", left=list(SECTIONS), left_s=480)
    assert first == pytest.approx(480 * SECTIONS["labels"].share / 100)
    assert allotted_s("instruments", left=["instruments"], left_s=33) == 33
    assert allotted_s("instruments", left=["instruments"], left_s=-1) == 0


def test_results_are_read_as_they_were_written(results):
    results.outcomes["labels"] = Outcome(title="T", state="cut", said="late", findings=[FINDING])
    results.save()
    assert Results.load(results.folder) == results
    page = (results.folder / "results.md").read_text()
    for text in ("x is missing", "## T", "cut: late", "| a / b | 1 | 2 | 0.25 |", "does not hold"):
        assert text in page
    assert (results.folder / "labels.md").read_text() in page
    assert list(results.folder.glob("*.part")) == []


@pytest.mark.parametrize(
    ("state", "holds", "status"),
    [
        ("done", True, 0),
        ("done", None, 0),
        ("done", False, 1),
        ("cut", True, 1),
        ("failed", True, 1),
        ("not run", True, 1),
    ],
)
def test_the_status_is_0_only_where_all_was_tried_and_holds(results, state, holds, status):
    one = Finding(check="c", expected="e", found="f", holds=holds)
    results.outcomes["labels"] = Outcome(title="T", state=state, findings=[one])
    assert exit_status(results) == status
    assert ("labels" in summary(results)) is (state != "done")


def test_no_results_are_no_success(results):
    assert exit_status(results) == 1


def test_tables_and_names():
    table = markdown_table([{"a": "1", "verdict": "holds"}, {"a": "2", "b": "3", "verdict": "–"}])
    assert table.splitlines()[0] == "| a | b | verdict |"
    assert table.splitlines()[2] == "| 1 | – | holds |"
    assert slug("NVIDIA H200") == "nvidia-h200"


def test_one_section_fails_and_keeps_what_it_had(results, monkeypatch, setup):
    def breaks(_):
        yield FINDING
        raise RuntimeError("CUDA error: misaligned address\nand more")

    monkeypatch.setattr(Section, "check", lambda self, setup: breaks(setup))
    supervising.run_section("labels", setup, results=results, share_s=60)
    outcome = Results.load(results.folder).outcomes["labels"]
    assert (outcome.state, outcome.findings) == ("failed", [FINDING])
    assert outcome.said.startswith("RuntimeError: CUDA error: misaligned address (traceback in ")
    assert "Traceback" in (results.folder / "labels-traceback.txt").read_text()


def test_one_check_fails_and_the_next_is_tried(setup, monkeypatch, caplog):
    def breaks(case, setup):
        raise ValueError(f"no {case.name}")

    monkeypatch.setattr(graphs, "check_case", breaks)
    found = list(graphs.check(setup))
    assert len(found) == len(graphs.CASES)
    assert {finding.holds for finding in found} == {False}
    assert found[0].found == "ValueError: no sgd, fused"
    assert "Traceback" in caplog.text


def test_a_section_over_its_time_is_cut_and_says_so(results, monkeypatch, setup):
    def endless(_):
        while True:
            yield FINDING

    monkeypatch.setattr(Section, "check", lambda self, setup: endless(setup))
    supervising.run_section("labels", setup, results=results, share_s=0.05)
    outcome = results.outcomes["labels"]
    assert outcome.state == "cut"
    assert "--minutes" in section_text("labels", outcome)
    assert outcome.findings == [FINDING]  # the last of each check


CHILD = """
import os, signal, sys, time
from pathlib import Path
from bench.gpu_check.findings import Outcome
from bench.gpu_check.results import Results
how, folder, _, _, name, *_ = sys.argv[1:]
results = Results.load(Path(folder))
began = time.time() - (1000 if how == "hang" else 0)
results.outcomes[name] = Outcome(title=name, began_at=began, share_s=1)
if how != "at once":
    results.save()
if how == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if how == "hang":
    time.sleep(600)
sys.exit(3)
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("how", "states", "says"),
    [
        ("crash", ("failed", "failed"), f"signal {signal.SIGSEGV.value}"),
        ("hang", ("cut", "cut"), "did not come back"),
        ("at once", ("not run", "not run"), "log.txt"),
    ],
)
def test_a_process_that_crashes_or_hangs_takes_one_section_with_it(
    results, monkeypatch, how, states, says
):
    def command(told):
        return [sys.executable, "-c", CHILD, how, *told]

    monkeypatch.setattr(supervising, "_command", command)
    monkeypatch.setattr(supervising, "_LOOK_EVERY_S", 0.02)
    names = ["labels", "speed"]
    found = supervising.supervise(results, names, dataset="synthetic", end_at=time.time() + 60)
    outcomes = [found.outcomes[name] for name in names]
    assert tuple(outcome.state for outcome in outcomes) == states
    assert all(says in outcome.said for outcome in outcomes)
    assert exit_status(found) == 1


# --- each section, at the size of a moment ---


def test_layers_are_seen_as_they_compute():
    network = build_model(RunConfig(model="lenet5"), DIGIT_SHAPE)
    images = torch.rand(4, 1, 28, 28)
    with watched_layers() as seen:
        network(images)
    assert seen.all_dtypes() == {"float32"}
    assert {seen.float32_arithmetic(kind) for kind in ("Conv2d", "Linear")} == {"ieee"}
    with watched_layers() as seen, torch.autocast("cpu", torch.bfloat16):
        network(images)
    assert seen.all_dtypes() == {"bfloat16"}
    assert seen.float32_arithmetic("Conv2d") is None
    with watched_layers() as seen:
        network.eval()(images)
    assert seen.text() == "no layer"


def test_products_in_tf32_are_told_from_float32():
    linear = nn.Linear(784, 64)

    def rounded(values):  # to the ten bits of mantissa that TF32 keeps
        return (values.detach().view(torch.int32) + 2**12 & -(2**13)).view(torch.float32)

    class Rounding(nn.Linear):
        """Stands in for the card."""

        def forward(self, images):
            return nn.functional.linear(rounded(images), rounded(self.weight), self.bias)

    Rounding.__name__, Rounding.__init__ = "Linear", nn.Linear.__init__
    with watched_layers() as seen:
        linear(torch.rand(8, 784))
    assert seen.float32_arithmetic("Linear") == "ieee"
    with watched_layers() as seen, pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Linear, "forward", Rounding.forward)
        linear(torch.rand(8, 784))
    assert seen.float32_arithmetic("Linear") == "tf32"


def test_curves_that_differ_lie_apart():
    curve = [2.0 - 0.05 * step for step in range(30)]
    assert curves.apart(curve, curve) == 0
    assert curves.apart(curve, [loss + 0.02 for loss in curve]) == pytest.approx(0.02 / 1.775)
    for other in (curve[:-1], [], [float("nan")] * 30, [float("inf")] * 30):
        assert curves.apart(curve, other) == float("inf")


@pytest.mark.slow
def test_labels_are_held_against_hooks_record_and_curve(setup):
    by_name = {case.name: case for case in labels.CASES}
    curve = curves.losses(curves.run(setup, loop="stock", **labels._NETWORK))
    layers, drawn = labels.check_case(by_name["bf16, fast"], setup, curve)
    assert layers.found.startswith("Conv2d bfloat16")
    assert drawn.holds
    strict = by_name["fp32 strict, fast"]
    layers, drawn = labels.check_case(strict, setup, [2 * loss for loss in curve])
    assert drawn.holds is False
    layers, _ = labels.check_case(strict._replace(dtype="bfloat16"), setup, curve)
    assert layers.holds is False  # float32 under another label
    layers, _ = labels.check_case(strict._replace(arithmetic="tf32"), setup, curve)
    assert layers.holds is False
    check = partial(labels.check_case, by_name["fp16, fast"], setup, curve)
    [refused] = attempted("fp16, fast", check)
    assert (refused.holds, "InputError" in refused.found) == (False, True)


def test_what_a_record_leaves_out_is_told():
    record = type("Record", (), {"environment": {"mixed_precision": "no", "grad_scaler": True}})
    told = labels.record_disagrees(labels.CASES[0], record)
    assert "grad_scaler is True" in told
    assert "no layer_dtypes" in told
    assert not any("mixed_precision" in text for text in told)


@pytest.mark.slow
def test_a_run_that_fell_to_eager_is_told(setup):
    case = next(case for case in graphs.CASES if case.name == "4 steps per graph")
    found = graphs.check_case(case, setup)
    assert found.found.startswith("0.0e+00, to the bit")
    record = curves.run(setup, **case.fields)
    told = graphs._labels(case, record, captured=True)
    assert told[0] == "it ran as eager: no reason given"


@pytest.mark.slow
def test_speed_is_of_both_loops_and_below_the_peak(setup, monkeypatch):
    rates = type("Rates", (), {"matmul_flops_per_s": 1e12})
    monkeypatch.setattr(speed, "peak_rates", lambda *_, **__: rates)
    sizes = {"models": ("linear",), "precisions": ("no",), "num_steps": 5}
    peak, found = speed.check_speeds(setup, **sizes)
    assert (peak.holds, peak.found.split()[:2]) == (None, ["1", "TFLOP/s"])
    assert found.values["fast ran as"] == "eager"
    rates.matmul_flops_per_s = 1.0
    _, found = speed.check_speeds(setup, **sizes)
    assert (found.holds, "above the peak" in found.found) == (False, True)
    _, broken = speed.check_speeds(setup, models=("cnn4",), precisions=("fp16",), num_steps=5)
    assert (broken.holds, "InputError" in broken.found) == (False, True)


def test_operations_are_those_of_forward_and_backward():
    flops = speed.flops_per_sample("linear", torch.device("cpu"))
    assert flops == 2 * (2 * 784 * 10)  # no gradient by the images


@pytest.mark.slow
def test_recipes_are_taken_in_turn_and_judged(setup):
    changed = {"compile": False, "batch_last": False, "max_steps": 3, "synthetic_train_size": 1500}
    first, second = recipes.check_recipes(setup, **changed)
    assert (first.check, second.check) == ("speedrun-99", "fast-cnn")
    assert "generated digits" in first.found
    assert second.holds
    runs = recipes.RecipeRuns("fast-cnn", wrong=["InputError: no"])
    assert runs.finding(asked=1, on_mnist=True).holds is False
    assert recipes.RecipeRuns("fast-cnn").finding(asked=1, on_mnist=True).holds is None


@pytest.mark.slow
def test_instruments_are_held_against_the_device(setup, monkeypatch):
    rates = type("Rates", (), {"matmul_flops_per_s": 1e30, "copy_bytes_per_s": 1e30})
    monkeypatch.setattr(instruments, "peak_rates", lambda *_, **__: rates)
    product, copy = instruments.check_probe(setup)
    assert (product.holds, copy.holds) == (False, False)
    assert instruments.check_telemetry(setup).holds
    traced = instruments.check_trace(setup, "eager", {})
    assert traced.holds
    assert "0 kernels" in traced.found  # which would be too few on CUDA
    assert instruments.check_memory(setup).holds


@pytest.mark.processes
def test_a_killed_process_leaves_a_line_and_a_record(setup):
    found = processes.check_killed(setup, device_type="cpu")
    assert found.holds, found.found


@pytest.mark.processes
def test_the_group_of_one_process(setup):
    found = processes.check_nccl(setup)
    assert found.holds, found.found


@pytest.mark.processes
def test_a_run_that_is_interrupted_goes_on_to_the_same_bits(setup, tmp_path):
    case = resuming.cases(setup)[0]
    found = resuming.check_case(case, setup, folder=tmp_path / "one")
    assert found.holds, found.found
    whole, broken = (tmp_path / "one" / name for name in ("whole", "broken"))
    [record] = records_in(whole)
    other = record.model_copy(update={"eval_points": record.eval_points[1:]})
    said, same = resuming._compared(case, other, whole, broken)
    assert (same, "evaluations" in said) == (False, True)


@pytest.mark.processes
def test_the_reference_on_the_cpu_is_a_process_of_its_own(setup):
    record = curves.CpuRun(setup, loop="stock", model="linear", num_threads=1).record()
    assert record["environment"]["device_type"] == "cpu"
    assert len(curves.losses(record)) == setup.steps
