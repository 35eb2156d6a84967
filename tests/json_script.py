"""A script of a user's own that writes its record by hand, in milliseconds."""

__all__ = ["SCRIPT"]

SCRIPT = """
import datetime, json, os, sys
from pathlib import Path

speed, seed = float(sys.argv[1]), int(os.environ["MNISTBENCH_SEED"])
seen = seed if "--constant" not in sys.argv else 0
f1 = 0.9 + 0.0625 / (1 + seen)
record = {
    "schema_version": 2,
    "run_id": f"toy-{seed}-{os.getpid()}",
    "status": "failed" if "--fail" in sys.argv else "completed",
    "created_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),
    "seed": seed,
    "workload": {"name": "toy", "framework": "python"},
    "config": {"speed": speed},
    "environment": {},
    "num_steps": 10,
    "eval_points": [
        {"step": 10, "samples_seen": 100, "train_s": 0.0, "split": "val", "metrics": {"f1": f1}}
    ],
    "metrics": {"f1": f1},
    "phases_s": {"train": 0.0},
    "wall_s": 0.0,
    "throughput": {"samples_per_s": speed + seed},
}
folder = Path(os.environ["MNISTBENCH_OUTPUT_DIR"]) / record["run_id"]
folder.mkdir(parents=True)
(folder / "record.json").write_text(json.dumps(record))
"""
