"""A package that stands in for mnistbench where children look first: real processes, no torch."""

import json

from mnistbench.launch import runs
from mnistbench.recorder import parent_death_signal
from mnistbench.schema.store import record_json
from tests.made_records import make_record

# What a cell does is told by its seed in does.json: [seconds, exit status, last words].
TRAIN = """
import json, os, re, runpy, sys, time
from pathlib import Path
runpy.run_path(PARENT)["die_with_parent"]()
flags = {name: sys.argv[sys.argv.index(name) + 1] for name in sys.argv if name.startswith("--c")
         or name in ("--output-dir", "--num-threads")}
seed = int(re.search(r"^seed: (.*)$", Path(flags["--config"]).read_text(), re.M)[1])
here = Path(__file__).parents[1]
does = json.loads((here / "does.json").read_text())
seconds, status, says = does.get(str(seed), does["else"])
with (here / "started").open("a") as file:
    file.write(f"{os.getpid()} {seed}\\n")
time.sleep(seconds)
if status == 0:
    record = json.loads((here / "record.json").read_text())
    record |= {"run_id": f"run-{os.getpid()}", "seed": seed}
    shared = os.environ.get("MNISTBENCH_SHARED_CORES") == "1"
    threads = flags.get("--num-threads")
    record["environment"] |= {"measured_alone": not shared}
    record["environment"] |= {"num_threads": threads and int(threads)}
    folder = Path(flags["--output-dir"]) / record["run_id"]
    folder.mkdir(parents=True)
    (folder / ".half").write_text(json.dumps(record))
    (folder / ".half").rename(folder / "record.json")
print(says, file=sys.stderr)
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


SWEEP = """
import sys
from pathlib import Path
from mnistbench import sweep
from mnistbench.launch import runs
runs.PACKAGE_ROOT = Path(sys.argv[1])
sys.path.insert(0, sys.argv[1])
sys.exit(sweep.main(sys.argv[2:]))
"""
"""The command that sweeps with the stand-in in the folder of its first argument."""


class StandIn:
    """The stand-in in a folder; `used` has children of this process run it."""

    def __init__(self, root):
        self._root = root
        (root / "mnistbench").mkdir(parents=True)
        (root / "mnistbench" / "__init__.py").write_text("")
        train = TRAIN.replace("PARENT", repr(parent_death_signal.__file__))
        (root / "mnistbench" / "train.py").write_text(train)
        record = make_record(eval_points=[], run_id="RUN")
        (root / "record.json").write_text(record_json(record))
        self.does()

    def does(self, seconds=0.0, status=0, says="", *, but=None):
        """Every cell takes `seconds`, says `says` and ends; `but` those of some seeds."""
        told = {str(seed): does for seed, does in (but or {}).items()}
        text = json.dumps({"else": [seconds, status, says], **told})
        (self._root / "does.json").write_text(text)

    def used(self, monkeypatch):
        """Have children run it."""
        monkeypatch.syspath_prepend(self._root)
        monkeypatch.setattr(runs, "PACKAGE_ROOT", self._root)
        return self

    def started(self):
        """Process and seed of every run that was started."""
        path = self._root / "started"
        lines = path.read_text().splitlines() if path.exists() else []
        return [tuple(map(int, line.split())) for line in lines]
