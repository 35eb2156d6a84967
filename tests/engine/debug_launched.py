"""Two processes as Accelerate's `debug_launcher` forks them; each prints what is on record."""

import json
import sys

from accelerate import debug_launcher

from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig


def main():
    values = {"dataset": "synthetic", "synthetic_train_size": 400, "val_size": 100, "max_steps": 3}
    (record,) = train(RunConfig(model="linear", output_dir=sys.argv[1], **values))
    told = ("num_processes", "num_threads", "num_machines", "launcher")
    found = [record.status, *(record.environment[name] for name in told)]
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    debug_launcher(main, num_processes=2)
