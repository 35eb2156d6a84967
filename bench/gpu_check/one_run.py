"""``python -m bench.gpu_check.one_run FIELDS``: a run in a process of its own; prints its record.

`FIELDS` are those of a configuration as JSON. Needs none of the packages that commands need.
"""

from __future__ import annotations

import json
import sys

__all__ = ["main"]


def main() -> None:
    from mnistbench.engine.run_seeds import train
    from mnistbench.schema.config import RunConfig

    [record] = train(RunConfig(**json.loads(sys.argv[1])))
    print(json.dumps(record.model_dump(mode="json")))


if __name__ == "__main__":
    main()
