"""A script of a user's own: a real process that leaves a record, without torch."""

from pathlib import Path

SCRIPT = """
import json, os, sys, time
from pathlib import Path
with open("started", "a") as file:
    file.write(json.dumps([os.getpid(), *sys.argv[1:]]) + "\\n")
does = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
time.sleep(float(does.get("sleep", 0)))
if does.get("edit"):
    Path(does["edit"]).write_text("# changed")
seed = does.get("seed", os.environ.get("MNISTBENCH_SEED"))
config = json.loads(os.environ["MNISTBENCH_VALUES"])
for number in range(int(does.get("records", 1))):
    record = {
        "schema_version": 2, "run_id": f"run-{os.getpid()}-{number}", "status": "completed",
        "created_at": "2026-01-01T00:00:00+00:00", "seed": seed and int(seed), "config": config,
        "environment": {"shared": os.environ.get("MNISTBENCH_SHARED_CORES"),
                        "threads": os.environ.get("OMP_NUM_THREADS")},
        "workload": {"name": "toy", "framework": "python"}, "metrics": {"perplexity": 3.25},
        "code": [{"component": "script", "reference": "train.py:__main__", "sha256": does["sha"]}]
        if "sha" in does else [],
        "phases_s": {"train": 1.0}, "wall_s": 1.0,
    }
    folder = Path(os.environ["MNISTBENCH_OUTPUT_DIR"]) / record["run_id"]
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(record))
sys.exit(int(does.get("exit", 0)))
"""
"""Words ``name=value`` tell it what to do: sleep, edit a file, set a seed, leave records, exit."""


def write_script(folder: Path, name: str = "train.py") -> Path:
    """Write the script, and say where."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SCRIPT)
    return path
