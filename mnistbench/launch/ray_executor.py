"""Cells on a cluster, by Ray (Moritz et al. 2018): what is left of a node goes on elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

from mnistbench import __version__
from mnistbench.launch.cells import Attempt, Cell, attempt_folder
from mnistbench.launch.children import Child, held_stops
from mnistbench.launch.commands import child_environment
from mnistbench.launch.ray_tasks import Request, nodes_of, request_of, run_on_worker, told_workers
from mnistbench.launch.runs import PACKAGE_ROOT, last_words
from mnistbench.recorder.limits import usable_cores
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import save_record

_ANSWER_S = 30.0
"""How long a cluster may take to answer."""

_LOOK_S = 0.5
_GRACE_S = 12.0
"""What cancelled cells have to end, which takes a run some seconds."""

_LOST_NODES = 3
"""How often Ray starts a cell again whose node or worker died."""

_OBJECT_STORE_BYTES = 2**27
"""Records are small; Ray would take a third of the memory."""

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # a task without GPUs keeps its node's variables, as it will in later versions of Ray
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Ray's own variables, where the user has not set them: it tells nobody that it was used."""

_PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"


class RayExecutor:
    """Runs each cell as a task of Ray, in a child process of one of its workers.

    Every node needs this version of mnistbench, the data in the folder named by its own
    ``MNISTBENCH_DATA_DIR``, else by this process's, and for code and data of the user's own this
    working directory. A cell whose node or worker dies is run again
    on another. A cell that has a node to itself is measured alone; others are on record as not.
    """

    def __init__(self, *, address: str | None, jobs: int | None, fresh: bool = False) -> None:
        """Check what can be checked without a wait.

        Args:
            address: of a cluster, such as ``auto`` or ``10.0.0.1:6379``; none starts a Ray of this
                machine's cores, and ends it.
            jobs: cells side by side at most; none leaves it to the room there is.
            fresh: each cell imports all it needs; else a worker of Ray does so once for its cells.

        Raises:
            InputError: Ray is not installed.
        """
        if find_spec("ray") is None:
            raise InputError('executor: Ray is not installed; pip install "mnistbench[ray]"')
        self._address, self._jobs, self._fresh = address, jobs, fresh
        self._running: dict[Any, Cell] = {}
        self._connected = False

    def run(self, cells: Sequence[Cell], *, folder: Path) -> Iterator[Attempt]:
        """See `mnistbench.launch.cells.Executor`."""
        if not cells:
            return
        self._connect()
        try:
            waiting = list(reversed(self._requested(cells)))
            while waiting or self._running:
                while waiting and len(self._running) < (self._jobs or len(cells)):
                    cell, request = waiting.pop()
                    self._running[_submit(cell, request._replace(fresh=self._fresh))] = cell
                for task in self._ended():
                    yield _attempt(self._running.pop(task), task, folder)
        finally:
            self._cancel()

    def close(self) -> None:
        """End what still runs, and a Ray of this executor's own."""
        self._cancel()
        if self._connected:
            import ray

            with held_stops():
                ray.shutdown()
            self._connected = False

    def _connect(self) -> None:
        if self._connected:
            return
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        if folder := os.environ.get("MNISTBENCH_DATA_DIR"):
            os.environ["MNISTBENCH_DATA_DIR"] = str(Path(folder).expanduser().absolute())
        if self._address is not None:
            _require_answer(self._address)
        # Handlers that Ray replaces are put back; and it has workers import from the current folder
        # first, whatever lies in it.
        with held_stops(), chdir(PACKAGE_ROOT):
            _start(self._address)
            self._connected = True

    def _requested(self, cells: Sequence[Cell]) -> list[tuple[Cell, Request]]:
        import ray

        nodes = nodes_of(ray.nodes())
        return [(cell, request_of(cell, nodes, jobs=self._jobs)) for cell in cells]

    def _ended(self) -> list[Any]:
        """The tasks that ended first, or none if a signal came."""
        import ray

        ready: list[Any] = []
        with held_stops() as arrived:
            while not ready and not arrived:
                ready, _ = ray.wait(list(self._running), timeout=_LOOK_S)
        return ready

    def _cancel(self) -> None:
        if not self._running:
            return
        import ray

        with held_stops():
            tasks = list(self._running)
            self._running.clear()
            for task in tasks:
                ray.cancel(task)
            ray.wait(tasks, num_returns=len(tasks), timeout=_GRACE_S)


def _require_answer(address: str) -> None:
    """Connect from a child first: Ray itself waits for minutes, and cannot be stopped.

    Raises:
        InputError: no Ray of this version answers at `address`.
    """
    probe = [sys.executable, "-c", _PROBE, address]
    with held_stops() as arrived:
        child, patience = Child(probe, environment=child_environment()), monotonic() + _ANSWER_S
        try:
            while not arrived and monotonic() < patience and not child.wait(_LOOK_S):
                pass
            status = child.status
        finally:
            child.kill()
    if status is None:
        raise InputError(
            f"ray_address: no Ray answers at {address} within {_ANSWER_S:g} s; start one there "
            "(ray start --head), or leave --ray-address out for one of its own"
        )
    if status:
        raise InputError(f"ray_address: {address}: {last_words(child.said)}{_token_hint()}")


def _token_hint() -> str:
    """Ray starts clusters that ask for a token, but sends none unless it is told to."""
    return "" if "RAY_AUTH_MODE" in os.environ else "; if it asks for a token: RAY_AUTH_MODE=token"


def _start(address: str | None) -> None:
    import ray

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
            return
        ray.init(
            address="local",
            num_cpus=usable_cores(),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **quiet,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise InputError(f"executor: Ray does not start ({last_words(str(error))})") from None


def _submit(cell: Cell, request: Request) -> Any:
    """Give `cell` to Ray; the task is what `ray.get` has the outcome of."""
    import ray

    task = ray.remote(run_on_worker).options(
        name=cell.id,
        num_cpus=request.num_cpus,
        num_gpus=request.num_gpus,
        max_retries=_LOST_NODES,
        scheduling_strategy="SPREAD",
    )
    return task.remote(
        cell.placed(),
        request=request,
        told=told_workers(),
        version=__version__,
        work_dir=str(Path.cwd()),
    )


def _attempt(cell: Cell, task: Any, folder: Path) -> Attempt:
    """What `task` came to, its record in `folder`."""
    import ray

    try:
        attempt: Attempt = ray.get(task)
    except ray.exceptions.RayError as error:
        return _failed(cell, str(error) or type(error).__name__)
    if attempt.record is not None:
        save_record(attempt.record, attempt_folder(folder, cell) / attempt.record.run_id)
    return attempt


def _failed(cell: Cell, said: str) -> Attempt:
    """What Ray says of a task that came to no outcome."""
    if "No module named 'mnistbench'" in said:
        why = "mnistbench is not installed for Ray's workers; install it on every node"
        return Attempt(cell, None, why, refused=True)
    return Attempt(cell, None, f"Ray: {last_words(said)}")
