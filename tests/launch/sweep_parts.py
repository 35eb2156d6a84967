"""What tests of sweeps share: cells, records of them, and an executor that needs no process."""

from mnistbench.launch.cells import Attempt, attempt_folder
from mnistbench.launch.children import wait_for
from mnistbench.launch.own_cells import RunCell
from mnistbench.schema.config import RunConfig
from mnistbench.schema.store import save_record
from tests.made_records import make_record


def make_cells(n):
    return [RunCell(config=RunConfig(seed=seed)) for seed in range(n)]


def record_of(cell, status="completed", **changes):
    config = cell.config.model_dump(mode="json")
    seed = cell.config.seed
    values = {"status": status, "config": config, "eval_points": [], "run_id": f"run-{seed}"}
    return make_record(seed, **values | changes)


def leave(folder, cell, status="completed", **changes):
    """Leave a record of `cell` as a run in `folder` does; gives its record."""
    record = record_of(cell, status, **changes)
    save_record(record, attempt_folder(folder, cell) / record.run_id)
    return record


def run_cell(cell, *, folder, **values):
    """Run `cell` for real, in `folder`; gives what it came to."""
    return cell.ended(wait_for(lambda: cell.start(folder, **values)), folder=folder)


class Scripted:
    """Runs cells as told: seed -> what its first, second and further tries come to.

    ``completed`` and the other statuses leave a record of it, ``refused`` is refused input, and any
    other word is an error without a record. An exception is raised.
    """

    def __init__(self, script=None):
        self.tried = []
        self.closed = False
        self._script = {seed: list(tries) for seed, tries in (script or {}).items()}

    def run(self, cells, *, folder):
        for cell in cells:
            self.tried.append(cell.config.seed)
            tries = self._script.get(cell.config.seed)
            yield self._attempt(cell, tries.pop(0) if tries else "completed", folder)

    def close(self):
        self.closed = True

    def _attempt(self, cell, comes_to, folder):
        if isinstance(comes_to, BaseException):
            raise comes_to
        if comes_to in {"completed", "diverged", "interrupted", "failed"}:
            return Attempt(cell, leave(folder, cell, comes_to))
        return Attempt(cell, None, comes_to, comes_to == "refused")
