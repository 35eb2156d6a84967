"""Labels: each precision and loop; the dtypes that layers compute in, and the curve of the CPU.

The dtypes are seen by hooks of torch and compared with what was asked and with the record. The
error of the first products, against float64, tells float32 from TF32, which has the same dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

from bench.gpu_check.curves import CpuRun, apart, losses, run
from bench.gpu_check.findings import Finding, Setup
from bench.gpu_check.results import attempted, one_line
from bench.gpu_check.seen import SeenLayers, watched_layers
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord

_NETWORK = {"model": "simple-cnn", "lr": 0.05, "momentum": 0.5}
_FP8_NETWORK = {"model": "dnn5", "lr": 0.05, "momentum": 0.5}
"""Converters to fp8 leave the first and the last linear layer out: it takes more of them."""


class Case(NamedTuple):
    """A precision and loop; `tolerance` is how far its curve may lie from the CPU's in float32."""

    name: str
    fields: Mapping[str, Any]
    dtype: str
    arithmetic: str | None
    tolerance: float


CASES = (
    Case("fp32 strict, fast", {"loop": "fast"}, "float32", "ieee", 2e-3),
    Case("fp32 strict, stock", {"loop": "stock"}, "float32", "ieee", 2e-3),
    Case("TF32, fast", {"loop": "fast", "matmul_precision": "high"}, "float32", "tf32", 1e-2),
    Case("bf16, fast", {"loop": "fast", "mixed_precision": "bf16"}, "bfloat16", None, 3e-2),
    Case("bf16, stock", {"loop": "stock", "mixed_precision": "bf16"}, "bfloat16", None, 3e-2),
    Case("fp16, fast", {"loop": "fast", "mixed_precision": "fp16"}, "float16", None, 5e-2),
    Case("fp16, stock", {"loop": "stock", "mixed_precision": "fp16"}, "float16", None, 5e-2),
)
_FP8_TOLERANCE = 0.15


def check(setup: Setup) -> Iterator[Finding]:
    reference = CpuRun(setup, loop="stock", **_NETWORK)
    fp8_reference = CpuRun(setup, loop="stock", **_FP8_NETWORK) if _can_fp8() else None
    curve = losses(reference.record())
    for case in CASES:
        yield from attempted(case.name, partial(check_case, case, setup, curve))
    if fp8_reference is None:
        yield Finding(
            check="fp8",
            expected="torchao or TransformerEngine",
            found="neither is installed: not tried",
            holds=None,
        )
        return
    fp8_curve = losses(fp8_reference.record())
    yield from attempted("fp8", lambda: _check_fp8(setup, fp8_curve))


def check_case(case: Case, setup: Setup, curve: list[float]) -> Iterator[Finding]:
    """One case, against `curve`, the losses of the CPU's run in float32."""
    with watched_layers() as seen:
        record = run(
            setup, **_NETWORK, **case.fields, batch_last=False
        )  # which a hook does not see
    yield _layers(case, record, seen)
    yield _curve(case.name, case.tolerance, curve, losses(record), record)


def _layers(case: Case, record: RunRecord, seen: SeenLayers) -> Finding:
    """Whether hooks and record both say what was asked."""
    arithmetic = {seen.float32_arithmetic(kind) for kind in ("Conv2d", "Linear")}
    wrong = record_disagrees(case, record)
    right = seen.all_dtypes() == {case.dtype} and arithmetic == {case.arithmetic} and not wrong
    said = "the same" if not wrong else "; ".join(wrong)
    how = f" by {case.arithmetic} arithmetic" if case.arithmetic else ""
    return Finding(
        check=f"{case.name}: layers",
        expected=f"{case.dtype}{how}, and the record says so",
        found=f"{seen.text()}; record: {said}",
        holds=right,
        values={"loop ran as": record.environment.get("loop_floor")},
    )


def record_disagrees(case: Case, record: RunRecord) -> list[str]:
    """What the record's environment says otherwise than `case`, or leaves out."""
    expected: dict[str, Any] = {
        "mixed_precision": case.fields.get("mixed_precision", "no"),
        "autocast_dtype": case.dtype,
        "layer_dtypes": [case.dtype],
        "grad_scaler": case.dtype == "float16",
    }
    if case.arithmetic:
        expected |= dict.fromkeys(("fp32_matmul", "fp32_conv"), case.arithmetic)
    said = record.environment
    return [
        f"{name} is {said[name]!r}" if name in said else f"no {name}"
        for name, value in expected.items()
        if said.get(name) != value
    ]


def _curve(
    name: str, tolerance: float, reference: list[float], found: list[float], record: RunRecord
) -> Finding:
    distance = apart(reference, found)
    return Finding(
        check=f"{name}: curve",
        expected=f"within {tolerance:g} of the CPU's in float32, {len(reference)} steps",
        found=f"{distance:.1e}; last loss {found[-1]:.4f}, there {reference[-1]:.4f}",
        holds=distance <= tolerance,
        values={"loop ran as": record.environment.get("loop_floor")},
    )


def _can_fp8() -> bool:
    return any(find_spec(name) for name in ("torchao", "transformer_engine"))


def _check_fp8(setup: Setup, curve: list[float]) -> Iterator[Finding]:
    """Layers have to be exchanged for those of a library; a refusal in one line is an answer."""
    try:
        with watched_layers() as seen:
            record = run(setup, **_FP8_NETWORK, mixed_precision="fp8")
    except InputError as error:
        yield Finding(
            check="fp8: layers",
            expected="fp8 layers, or a refusal in one line",
            found=f"refused: {one_line(error)}",
            holds=None,
        )
        return
    exchanged = sorted(n for n in seen.names if "float8" in n.lower() or n.startswith("TE"))
    said = record.environment.get("autocast_dtype")
    yield Finding(
        check="fp8: layers",
        expected="layers of an fp8 library were called, and the record says float8",
        found=f"{', '.join(exchanged) or 'none'}; record: {said}",
        holds=bool(exchanged) and said == "float8",
        values={"loop ran as": record.environment.get("loop_floor")},
    )
    yield _curve("fp8", _FP8_TOLERANCE, curve, losses(record), record)
