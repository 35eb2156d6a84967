"""Graph against eager: every optimizer, fused or not, accumulation, dropout, steps per graph.

The same run is made twice: by the default, which captures, and with ``cuda_graph=False``. Dropout
is compared loosely: a graph may draw its masks elsewhere in the stream of random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bench.gpu_check.curves import apart, losses, run
from bench.gpu_check.findings import Finding, Setup
from bench.gpu_check.results import attempted
from mnistbench.schema.record import RunRecord

_SAME = 2e-3
_OTHER_MASKS = 0.1


class Case(NamedTuple):
    """A run to make twice; `may_fall` says why it cannot be captured, if so."""

    name: str
    fields: Mapping[str, Any]
    tolerance: float = _SAME
    may_fall: str | None = None
    implementation: str | None = None


_LR = {"sgd": 0.05, "adam": 1e-3, "adamw": 1e-3, "adadelta": 0.5, "rmsprop": 3e-4, "muon": 1e-2}
_HAVE_FUSED = ("sgd", "adam", "adamw")
_HOST = "it reads its rate on the host"


def _optimizer_cases() -> Iterator[Case]:
    for name, lr in _LR.items():
        fields = {"model": "lenet5", "optimizer": name, "lr": lr}
        momentum = {"momentum": 0.8} if name in {"sgd", "rmsprop", "muon"} else {}
        fused = "fused" if name in _HAVE_FUSED else None
        falls = _HOST if name == "muon" else None
        kinds = f"{name}, fused" if fused else name
        yield Case(kinds, fields | momentum, may_fall=falls, implementation=fused)
        if fused:
            falls = _HOST if name == "sgd" else None
            unfused = fields | momentum | {"fused_optimizer": False}
            yield Case(f"{name}, not fused", unfused, may_fall=falls)


_ADAM = {"model": "cnn", "optimizer": "adam", "lr": 1e-3}
CASES = (
    *_optimizer_cases(),
    Case("4 steps per graph", {**_ADAM, "steps_per_graph": 4}),
    Case("7 steps per graph, which do not divide the run", {**_ADAM, "steps_per_graph": 7}),
    Case("batch norm", {**_ADAM, "batch_norm": True}),
    Case("accumulation of 4", {**_ADAM, "gradient_accumulation_steps": 4}),
    Case("accumulation of 3, uneven", {**_ADAM, "gradient_accumulation_steps": 3}),
    Case("shift and rotate", {**_ADAM, "augment": ("shift", "rotate")}),
    Case("bf16, 4 steps per graph", {**_ADAM, "mixed_precision": "bf16", "steps_per_graph": 4}),
    Case("schedule", {**_ADAM, "lr_schedule": "cosine", "lr_warmup_steps": 20}),
    Case("dropout", {**_ADAM, "dropout": 0.3}, tolerance=_OTHER_MASKS),
    Case(
        "dropout, 4 steps per graph",
        {**_ADAM, "dropout": 0.3, "steps_per_graph": 4},
        tolerance=_OTHER_MASKS,
    ),
)


def check(setup: Setup) -> Iterator[Finding]:
    for case in CASES:
        yield from attempted(case.name, lambda case=case: [check_case(case, setup)])


def check_case(case: Case, setup: Setup) -> Finding:
    """Both runs of one case."""
    captured = setup.device_type == "cuda"
    expected = "a graph" if captured else "eager"
    expected += f", or a reason ({case.may_fall})" if case.may_fall else ""
    expected += f"; the curve of eager within {case.tolerance:g}"
    by_graph = run(setup, **case.fields)
    eager = run(setup, **case.fields, cuda_graph=False)
    distance = apart(losses(eager), losses(by_graph))
    wrong = _labels(case, by_graph, captured=captured)
    exact = ", to the bit" if losses(eager) == losses(by_graph) else ""
    return Finding(
        check=case.name,
        expected=expected,
        found="; ".join([f"{distance:.1e}{exact}", *wrong]),
        holds=distance <= case.tolerance and not wrong,
        values={
            "ran as": by_graph.environment.get("loop_floor"),
            "reason": by_graph.environment.get("loop_floor_reason"),
            "optimizer": by_graph.environment.get("optimizer_implementation"),
            "eager step ms": _step_ms(eager),
            "step ms": _step_ms(by_graph),
        },
    )


def _labels(case: Case, record: RunRecord, *, captured: bool) -> list[str]:
    """What the record says that it should not; on a device without graphs, none ran."""
    said, wrong = record.environment, []
    mode, reason = said.get("loop_floor"), said.get("loop_floor_reason")
    fell = captured and mode != "graph"
    if fell and not (case.may_fall and reason):
        wrong.append(f"it ran as {mode}: {reason or 'no reason given'}")
    if said.get("cuda_graph") is not (mode == "graph"):
        wrong.append(f"cuda_graph is {said.get('cuda_graph', 'not in the record')}")
    implementation = said.get("optimizer_implementation", "not in the record")
    if case.implementation and implementation != case.implementation:
        wrong.append(f"optimizer_implementation is {implementation}")
    return wrong


def _step_ms(record: RunRecord) -> float | None:
    step_s = record.throughput.step_s_p50
    return None if step_s is None else 1e3 * step_s
