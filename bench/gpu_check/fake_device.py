"""What fake CUDA tensors show of the fast step without a GPU: all that touches the engine is here.

A fake tensor has a shape, a type and a device, and no data. The update that would be captured as a
graph runs on them: an operator that mixes devices fails, as does one that reads a value from Python
(``.item()``), and a copy between devices or to the host is noted. Not shown are the backward
formulas: torch's engine wants a driver, so that gradients are zeros here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import combinations
from typing import Any, NamedTuple, get_args
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.gpu_check.findings import Finding, Setup
from bench.gpu_check.results import one_line
from mnistbench.engine import build as engine_build
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.gradient_allreduce import GradientAllReduce
from mnistbench.engine.objective import Objective
from mnistbench.engine.plan import Hardware, resolve_plan
from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import AugmentName, LossName, ModelName, OptimizerName
from mnistbench.workload.augment import build_augment
from mnistbench.workload.batches import Preprocess
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer

TITLE = "Fake CUDA tensors: devices that differ, values that are read from Python"

_DEVICE = torch.device("cuda:0")
_SAMPLES, _UPDATES = 12, 2

Build = Callable[[RunConfig, DataShape], nn.Module]


class Case(NamedTuple):
    """Fields of a run; `reads_host` says that the engine does not capture it, since it reads."""

    name: str
    fields: Mapping[str, Any]
    reads_host: bool = False


def _cases() -> Iterator[Case]:
    for model in get_args(ModelName):
        yield Case(f"model {model}", {"model": model})
    yield Case("model cnn, norm and dropout", {"model": "cnn", "batch_norm": True, "dropout": 0.3})
    yield from (Case(f"loss {loss}", {"loss": loss}) for loss in get_args(LossName))
    for name in get_args(OptimizerName):
        for fused in (True, False):
            reads = name == "muon" or (name == "sgd" and not fused)
            kind = "fused where torch has it" if fused else "not fused"
            yield Case(f"{name}, {kind}", {"optimizer": name, "fused_optimizer": fused}, reads)
    names = get_args(AugmentName)
    for count in range(1, len(names) + 1):
        for some in combinations(names, count):
            yield Case(f"augment {' '.join(some)}", {"augment": some})
    for pieces in (3, 4):
        yield Case(f"accumulation of {pieces}", {"gradient_accumulation_steps": pieces})
    for model in ("cnn4", "resnet-mini", "speedrun-cnn", "dnn5"):
        yield Case(f"bf16, {model}", {"mixed_precision": "bf16", "model": model})
    yield Case("channels last off", {"channels_last": False})


CASES = tuple(_cases())


def check(_: Setup) -> Iterator[Finding]:
    return map(check_case, CASES)


def check_case(case: Case, *, build: Build = build_model) -> Finding:
    """Two updates of one case, as they would be captured."""
    problems = problems_of(RunConfig(**case.fields), build=build)
    expected = "one device, nothing read from Python"
    if case.reads_host:
        expected = "a value read from Python, which is why the engine captures no graph of it"
    return Finding(
        check=case.name,
        expected=expected,
        found="; ".join(dict.fromkeys(problems)) or "as expected",
        holds=bool(problems) == case.reads_host,
    )


def problems_of(config: RunConfig, *, build: Build = build_model) -> list[str]:
    """What stands in the way of a graph of this update; nothing where it could be captured."""
    watch = _Watch()
    model = build(config, DIGIT_SHAPE)  # before: a model may measure itself on meta
    with _fake_cuda():
        step = _step(config, model)
        inputs = _inputs(config)
        try:
            with watch:
                for _ in range(_UPDATES):
                    step.update(*inputs, 1.0)
        except DataDependentOutputException as error:
            return [*watch.problems, f"a value is read from Python: {error.func}"]
        except Exception as error:
            return [*watch.problems, one_line(error)]
    return watch.problems


@contextmanager
def _fake_cuda() -> Iterator[None]:
    """Fake tensors, autocast that takes CUDA to be there, and gradients of zeros."""
    with ExitStack() as entered:
        common = torch.cuda.amp.common
        entered.enter_context(patch.object(common, "amp_definitely_not_available", lambda: False))
        for name in ("is_bf16_supported", "is_current_stream_capturing"):
            answer = name == "is_bf16_supported"
            entered.enter_context(patch.object(torch.cuda, name, _always(answer)))
        entered.enter_context(patch.object(torch.autograd, "grad", _zeros))
        entered.enter_context(FakeTensorMode(allow_fallback_kernels=False))
        yield


def _always(answer: bool) -> Callable[..., bool]:
    return lambda *_, **__: answer


def _zeros(_: Tensor, weights: Sequence[Tensor], **__: Any) -> list[Tensor]:
    return [torch.zeros_like(weight) for weight in weights]


def _step(config: RunConfig, model: nn.Module) -> FastStep:
    """The fast step of `config` as it is right before it is captured."""
    hardware = Hardware(device=_DEVICE, mixed_precision=config.mixed_precision or "no")
    plan = resolve_plan(config, hardware)
    _move(model, channels_last=plan.channels_last)
    optimizer = build_optimizer(model, config, fused=plan.fused_optimizer)
    for group in optimizer.param_groups:
        if "foreach" in group and not group.get("fused"):
            group["foreach"] = True  # torch's choice on CUDA, which it does not make for fakes
    step = FastStep(
        plan,
        model=model,
        optimizer=optimizer,
        objective=Objective(
            network=engine_build._network(plan, _DEVICE, model),  # noqa: SLF001
            loss_fn=build_loss(config),
            preprocess=Preprocess(mean=(0.13,), std=(0.31,), augment=build_augment(config)),
            blank=torch.zeros(DIGIT_SHAPE[:3], dtype=torch.uint8, device=_DEVICE),
            num_microbatches=config.gradient_accumulation_steps,
        ),
        allreduce=GradientAllReduce(1),
    )
    step._read_on_device()  # noqa: SLF001
    return step


def _move(model: nn.Module, *, channels_last: bool) -> None:
    """Fake weights and buffers in the place of its own; ``Module.to`` does not know fakes."""
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(_fake(weight, channels_last)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, _fake(buffer, channels_last))


def _fake(tensor: Tensor, channels_last: bool) -> Tensor:
    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=_DEVICE)
    laid_out = channels_last and tensor.dim() == 4
    return fake.contiguous(memory_format=torch.channels_last) if laid_out else fake


def _inputs(config: RunConfig) -> tuple[Tensor, Tensor, Tensor | None]:
    """What a graph reads: all of it on the device."""
    images = torch.zeros(_SAMPLES, *DIGIT_SHAPE[:3], dtype=torch.uint8, device=_DEVICE)
    labels = torch.zeros(_SAMPLES, dtype=torch.int64, device=_DEVICE)
    augment = build_augment(config)
    if augment is None:
        return images, labels, None
    draws = augment.draw(torch.Generator(), _SAMPLES)
    return images, labels, torch.zeros(draws.shape, device=_DEVICE)


class _Watch(TorchDispatchMode):
    """Notes operators of tensors on several devices, and copies from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        name = str(func.overloadpacket)
        into = {tensor.device.type for tensor in _tensors((args, given))}
        if len(into) > 1:
            self.problems.append(f"{name} of tensors on {' and '.join(sorted(into))}")
        if name.startswith("aten._fused_"):  # without a rule for fakes; changes them in place
            return None
        out = func(*args, **given)
        gone = {tensor.device.type for tensor in _tensors(out)} - into
        if into and gone:
            self.problems.append(f"{name} from {'/'.join(into)} to {'/'.join(gone)}")
        return out


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
