"""Speed: samples per second of every model, precision and loop, and their share of the peak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import torch

from bench.gpu_check.curves import run
from bench.gpu_check.findings import Finding, Setup
from bench.gpu_check.results import one_line
from mnistbench.recorder.op_counter import count_ops
from mnistbench.recorder.peak_rates import peak_rates
from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import ModelName
from mnistbench.schema.record import RunRecord
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model

_PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_STEPS = 300
_NOT_SLOWER = 0.9
"""The fast loop's speed by the stock's; below 1, since both are measured once."""


def check(setup: Setup) -> Iterator[Finding]:
    yield from check_speeds(setup, models=get_args(ModelName), precisions=tuple(_PRECISIONS))


def check_speeds(
    setup: Setup, *, models: tuple[str, ...], precisions: tuple[str, ...], num_steps: int = _STEPS
) -> Iterator[Finding]:
    """Each model in each precision by both loops, in turn."""
    device = torch.device(setup.device_type)
    wait = torch.cuda.synchronize if device.type == "cuda" else None
    peaks = {
        name: peak_rates(device, _PRECISIONS[name], synchronize=wait).matmul_flops_per_s
        for name in precisions
    }
    for precision in precisions:
        yield Finding(
            check=f"peak, {precision}",
            expected="–",
            found=f"{peaks[precision] / 1e12:.3g} TFLOP/s in a large matrix product",
            holds=None,
        )
    for model in models:
        flops = flops_per_sample(model, device)
        for precision in precisions:
            share = flops / peaks[precision]
            fields = {"model": model, "mixed_precision": precision, "max_steps": num_steps}
            yield _both_loops(setup, fields, share=share)


def _both_loops(setup: Setup, fields: dict[str, Any], *, share: float) -> Finding:
    """Both loops in turn; `share` is of the peak, for one sample in a second."""
    speeds, ran, wrong = {}, {}, []
    for loop in ("fast", "stock"):
        try:
            record = _measure(setup, loop=loop, **fields)
        except Exception as error:
            wrong.append(f"{loop}: {one_line(error)}")
            continue
        speeds[loop] = record.throughput.samples_per_s or 0.0
        ran[loop] = record.environment.get("loop_floor")
    fast, stock = speeds.get("fast", 0.0), speeds.get("stock", 0.0)
    of_peak = max(fast, stock) * share
    if of_peak > 1:
        wrong.append("above the peak: its work or its time is counted wrong")
    ratio = fast / stock if stock else 0.0
    return Finding(
        check=f"{fields['model']}, {fields['mixed_precision']}",
        expected=f"both loops train, the fast one at least {_NOT_SLOWER:g} times as fast where it "
        "ran, none above the peak",
        found="; ".join([f"{ratio:.2f} times", *wrong]),
        holds=not wrong and (ratio >= _NOT_SLOWER or ran["fast"] == "stock"),
        values={
            "fast ran as": ran.get("fast"),
            "fast samples/s": f"{fast:,.0f}",
            "stock samples/s": f"{stock:,.0f}",
            "fast, % of peak": 100 * fast * share,
            "stock, % of peak": 100 * stock * share,
        },
    )


def _measure(setup: Setup, **fields: Any) -> RunRecord:
    return run(
        setup,
        **fields,
        global_batch_size=setup.batch_size,
        synthetic_train_size=20 * setup.batch_size + 500,
        optimizer="adam",
        lr=1e-3,
    )


def flops_per_sample(model: str, device: torch.device, *, count: int = 32) -> float:
    """Operations of forward and backward for one sample, by torch's formulas."""
    config = RunConfig(model=model)
    with device:
        network = build_model(config, DIGIT_SHAPE)
        images = torch.zeros(count, *DIGIT_SHAPE[:3])
        labels = torch.zeros(count, dtype=torch.int64)
    loss_fn = build_loss(config)
    operations = count_ops(lambda: loss_fn(network(images), labels).backward())
    return sum(operation.flops for operation in operations) / count
