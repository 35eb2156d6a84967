"""Records that have something for every section of a page."""

from mnistbench.schema.insight import Ceilings, OperatorTime, Profile, StepCosts, Telemetry
from mnistbench.schema.record import (
    PHASES,
    Canary,
    CanaryReading,
    Interruption,
    Throughput,
)
from tests.made_records import make_record

COSTS = StepCosts(
    step_s=0.004,
    loader_s=0.0002,
    communication_s=0.0003,
    overhead_s=0.001,
    arithmetic_s=0.0015,
    traffic_s=0.0008,
    flops=200_000_000,
    traffic_bytes=30_000_000,
    ceilings=Ceilings(
        matmul_flops_per_s=1.5e11, copy_bytes_per_s=1.2e10, cached_copy_bytes_per_s=6e10
    ),
    num_steps=40,
)
PROFILE = Profile(
    kinds=["torch"],
    first_step=5,
    end_step=10,
    slowdown=1.4,
    files=["trace.json.gz"],
    operators=[OperatorTime(name="aten::mm", calls=20, cpu_s=0.002, flops=1000)],
)
TELEMETRY = Telemetry(num_samples=3, rss_peak_bytes=2**30, cores_used=1.9, load_average_1min=2.0)
ENVIRONMENT = {
    "versions": {"python": "3.11.7", "torch": "2.11.0"},
    "platform": "Linux",
    "device_name": "a processor",
    "cpu_name": "a processor",
    "num_usable_cores": 2,
    "memory_bytes": 2**34,
    "launcher": "python",
    "git_commit": "0123456789abcdef",
    "num_processes": 1,
}


def page_record(seed=0, accuracies=(0.90, 0.95, 0.98), **changes):
    """As `make_record`, of one process, with `config` and `environment` over what that has."""
    config, environment = changes.pop("config", {}), changes.pop("environment", {})
    made = make_record(seed, accuracies, **changes)
    told = {
        "config": made.config | config,
        "environment": made.environment | ENVIRONMENT | environment,
        "phases_s": dict.fromkeys(PHASES, 0.0) | {"train": 6.0, "eval": 2.0, "import": 2.0 + seed},
    }
    return made.model_copy(update=told)


def every_kind():
    """Groups of every kind: of several seeds, processes and batches, watched, broken, elsewhere."""
    records = [page_record(seed, (0.9 + seed / 100, 0.95, 0.98)) for seed in range(6)]
    for processes in (2, 4):
        several = {"num_processes": processes, "num_usable_cores": 8}
        records += [
            page_record(seed, environment=several, throughput=Throughput(samples_per_s=1500.0))
            for seed in range(2)
        ]
    large = {"config": {"global_batch_size": 128}, "environment": {"global_batch_size": 128}}
    records += [page_record(seed, **large) for seed in range(2)]
    before, after = (
        CanaryReading(matmul_flops_per_s=speed, copy_bytes_per_s=speed) for speed in (1e9, 2e9)
    )
    gap = Interruption(
        step=5, cause="SIGTERM", saved_at="2026-01-01", resumed_at="2026-01-02", num_processes=1
    )
    records += [
        page_record(name="cnn4-ce", step_costs=COSTS, telemetry=TELEMETRY),
        page_record(name="cnn4-mse", profile=PROFILE, config={"profile": ["torch"]}),
        page_record(name="dnn4-mse", status="failed", error="out of memory", eval_points=[]),
        page_record(name="dnn4-ce", canary=Canary(before=before, after=after), interruptions=[gap]),
        page_record(name="dnn5-ce", environment={"measured_alone": False}, dataset=None),
    ]
    return records
