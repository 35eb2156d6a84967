"""What will run is decided once, from the configuration and the hardware."""

import re
from dataclasses import replace

import pytest
import torch

from mnistbench.engine.observed import Observed, _forward, fp32_precision, unearned_label
from mnistbench.engine.plan import Hardware, eager, resolve_plan
from mnistbench.engine.setting import _check_graph
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload.batches import BatchPlan

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def planned(values, device=CPU, **hardware):
    plan = resolve_plan(RunConfig(**values), Hardware(device=device, **hardware))
    return plan, (plan.mode, plan.compile, plan.fallback_reason)


@pytest.mark.parametrize(
    ("values", "device", "expected"),
    [
        ({}, CPU, ("eager", False, None)),
        ({"compile": True}, CPU, ("compiled", True, None)),
        ({"loop": "stock", "compile": True}, CPU, ("stock", True, None)),
        ({}, CUDA, ("graph", False, None)),
        ({"cuda_graph": False}, CUDA, ("eager", False, None)),
        ({"compile": True}, CUDA, ("compiled", True, None)),  # it used to be a graph in silence
        ({"loop": "stock"}, CUDA, ("stock", False, None)),
        (
            {"optimizer": "muon"},
            CUDA,
            ("eager", False, "graph: torch's Muon reads its learning rate on the host"),
        ),
        (
            {"fused_optimizer": False},
            CUDA,
            ("eager", False, "graph: torch's unfused SGD reads its learning rate on the host"),
        ),
        ({"fused_optimizer": False, "optimizer": "adam"}, CUDA, ("graph", False, None)),
    ],
)
def test_a_step_runs_in_the_mode_that_suits_it(values, device, expected):
    assert planned(values, device)[1] == expected


@pytest.mark.parametrize("precision", ["fp16", "fp8"])
def test_scaled_precisions_run_in_the_stock_loop_and_without_its_extras(precision):
    plan, (mode, _, reason) = planned({}, CUDA, mixed_precision=precision)
    assert (mode, reason) == (
        "stock",
        f"{precision} needs Accelerate's own backward and optimizer",
    )
    assert plan.fused_optimizer is None  # the loop that was asked for has it
    assert plan.uses_grad_scaler == (precision == "fp16")
    assert planned({"loop": "stock"}, CUDA, mixed_precision=precision)[1][2] is None


def test_shared_weights_have_neither_layout_nor_fused_updates():
    plan, (mode, *_) = planned({}, CUDA, num_processes=2, is_sharded=True)
    assert (mode, plan.gradient_exchange) == ("stock", "fsdp")
    assert (plan.memory_format, plan.channels_last, plan.fused_optimizer) == (
        "contiguous",
        False,
        None,
    )


@pytest.mark.parametrize(
    ("values", "exchange"),
    [({}, "all-reduce"), ({"exact_parity": True}, "pairwise"), ({"loop": "stock"}, "ddp")],
)
def test_gradients_are_exchanged_by_the_loop(values, exchange):
    assert planned(values, num_processes=2)[0].gradient_exchange == exchange
    assert planned(values)[0].gradient_exchange == "none"


@pytest.mark.parametrize(
    ("values", "hardware", "field"),
    [
        ({"cuda_graph": True}, {"device": CPU}, "cuda_graph"),
        ({"cuda_graph": True, "compile": True}, {"device": CUDA}, "cuda_graph"),
        ({"cuda_graph": True, "optimizer": "muon"}, {"device": CUDA}, "cuda_graph"),
        ({"cuda_graph": True}, {"device": CUDA, "mixed_precision": "fp16"}, "cuda_graph"),
        ({"exact_parity": True}, {"device": CUDA, "mixed_precision": "fp16"}, "exact_parity"),
        ({"matmul_precision": "high"}, {"device": CUDA}, "matmul_precision"),
        (
            {"exact_parity": True, "eval_shift_px": 1, "eval_shift_share": 0.5},
            {"device": CPU, "num_processes": 2},
            "eval_shift_share",
        ),
    ],
)
def test_what_was_asked_for_and_cannot_be_had_is_refused(monkeypatch, values, hardware, field):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(InputError, match=f"^{field}: "):
        resolve_plan(RunConfig(**values), Hardware(**hardware))


def test_tf32_is_for_gpus_that_have_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert planned({"matmul_precision": "high"}, CUDA)[0].matmul_precision == "high"


def test_one_order_of_additions_needs_deterministic_kernels_on_a_gpu():
    assert planned({"exact_parity": True}, CUDA)[0].deterministic
    assert not planned({}, CUDA)[0].deterministic


SEEN = Observed(
    layer_dtypes=("float32",),
    optimizer_implementation="fused",
    compiled=False,
    cuda_graph=False,
    fp32_matmul="ieee",
    fp32_conv="ieee",
    kernels="own",
)


def seen(**values):
    return Observed(**{**vars(SEEN), **values})


@pytest.mark.parametrize(
    ("values", "device", "precision", "observed", "said"),
    [
        ({}, CPU, "bf16", SEEN, "mixed precision: planned bfloat16, seen float32"),
        ({}, CPU, "no", seen(layer_dtypes=("bfloat16", "float32")), "seen bfloat16, float32"),
        ({}, CPU, "no", seen(optimizer_implementation="for-loop"), "optimizer: planned fused"),
        ({"compile": True}, CPU, "no", SEEN, "compiled step: planned True, seen False"),
        ({}, CUDA, "no", seen(kernels="torch"), "CUDA graph: planned True, seen False"),
        ({}, CPU, "no", seen(kernels="torch"), "convolutions: planned own, seen torch"),
        ({}, CPU, "no", seen(fp32_conv="tf32"), "fp32 products: planned .*, seen .*tf32"),
        ({}, CUDA, "fp8", seen(layer_dtypes=("bfloat16",)), "no layer .* in fp8 .seen: bfloat16"),
    ],
)
def test_a_label_that_was_not_earned_is_told(values, device, precision, observed, said):
    plan, _ = planned(values, device, mixed_precision=precision)
    found = unearned_label(plan, observed)
    assert re.search(said, str(found))
    assert isinstance(found, InputError) == (precision == "fp8")  # another network has the layers


def test_a_label_that_was_earned_passes():
    plan, _ = planned({"compile": True})
    compiled = seen(compiled=True, optimizer_implementation="compiled")
    assert unearned_label(plan, compiled) is None
    assert unearned_label(eager(plan, "no compiler"), SEEN) is None
    plan, _ = planned({}, CUDA, mixed_precision="fp8")
    fp8 = seen(layer_dtypes=("bfloat16", "float8_e4m3fn"), kernels="torch")
    assert unearned_label(plan, fp8) is None


def test_this_processor_keeps_all_of_fp32():
    assert fp32_precision(CPU) == ("ieee", "ieee")


def test_rounded_products_are_measured(monkeypatch):
    plain = torch.nn.functional.conv2d
    monkeypatch.setattr(
        torch.nn.functional, "conv2d", lambda x, w: plain(x.bfloat16(), w.bfloat16()).float()
    )
    assert fp32_precision(CPU) == ("ieee", "bf16")


def test_factors_are_seen_behind_a_subclass_of_tensors():
    class Wrapped(torch.Tensor):
        """As fp8's tensors are: float32 to the outside, another type within."""

        @staticmethod
        def __new__(cls, inner):
            return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=torch.float32)

        def __init__(self, inner):
            self.inner = inner

        def __tensor_flatten__(self):
            return ["inner"], None

        @staticmethod
        def __tensor_unflatten__(inner, *_):
            return Wrapped(inner["inner"])

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            return func(*(arg.inner if isinstance(arg, Wrapped) else arg for arg in args)).float()

    weight = Wrapped(torch.ones(16, 10, dtype=torch.bfloat16))
    seen = _forward(lambda x: x.bfloat16() @ weight, torch.ones(2, 16), model=torch.nn.ReLU())
    assert seen.product_dtypes == {"bfloat16"}


@pytest.mark.parametrize(
    ("values", "hardware", "expected"),
    [
        ({}, {}, ("own", "chwn")),
        ({"compile": True}, {"mixed_precision": "bf16"}, ("own", "chwn")),
        ({"batch_last": False}, {}, ("torch", "channels_last")),
        ({"exact_parity": True}, {}, ("torch", "channels_last")),
        ({"exact_parity": True, "batch_last": True}, {}, ("own", "chwn")),
        ({"loop": "stock"}, {}, ("torch", "channels_last")),
        ({}, {"is_sharded": True}, ("torch", "contiguous")),
        ({}, {"device": CUDA}, ("torch", "channels_last")),
    ],
)
def test_own_kernels_are_for_the_fast_loop_on_a_cpu(values, hardware, expected):
    plan = resolve_plan(RunConfig(**values), Hardware(**{"device": CPU, **hardware}))
    assert (plan.kernels, plan.memory_format) == expected


@pytest.mark.parametrize(
    ("hardware", "said"),
    [
        ({"device": CUDA}, "batch_last: its kernels are for CPUs, and this runs on cuda; leave it"),
        ({"is_sharded": True}, "batch_last: needs the fast loop, but FSDP .*; leave it out"),
    ],
)
def test_own_kernels_that_were_asked_for_and_cannot_be_had_are_an_error(hardware, said):
    with pytest.raises(InputError, match=said):
        resolve_plan(RunConfig(batch_last=True), Hardware(**{"device": CPU, **hardware}))


def test_a_graph_of_more_steps_than_are_made_at_once_is_refused():
    config = RunConfig(steps_per_graph=10, eval_every_steps=8)
    plan = resolve_plan(config, Hardware(device=CUDA))
    batches = BatchPlan(num_samples=640, global_batch_size=64, num_steps=20, seed=0)
    with pytest.raises(InputError, match="steps_per_graph: 10 are more than the 8 of --eval-every"):
        _check_graph(plan, config, batches)
    with pytest.raises(InputError, match="10 are more than the 5 of an epoch; use at most 5"):
        _check_graph(plan, RunConfig(), replace(batches, global_batch_size=128))
    _check_graph(plan, RunConfig(), batches)
    on_cpu = resolve_plan(config, Hardware(device=CPU))
    _check_graph(on_cpu, config, batches)  # where there is no graph, its length does not matter
