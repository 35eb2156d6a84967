"""A cell as a task of Ray: what it asks of a node, and how a worker runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mnistbench import __version__
from mnistbench.launch.cells import Attempt, Cell, attempt_folder
from mnistbench.launch.children import Child, end_all
from mnistbench.launch.preloaded import Preloaded
from mnistbench.recorder.launcher import this_launch
from mnistbench.recorder.limits import usable_cores
from mnistbench.schema.errors import InputError

_LOOK_S = 0.1
_preloaded: dict[str | None, Preloaded] = {}
"""By its GPUs, what starts the runs of this worker, to which Ray gives one task after the other."""

_TOLD = ("MNISTBENCH_DATA_DIR", "ACCELERATE_USE_CPU")


class Node(NamedTuple):
    """What a living node of a cluster has for tasks, and the machine's address."""

    id: str
    address: str
    num_cpus: float
    num_gpus: float


class Request(NamedTuple):
    """What a cell asks Ray for, and whether its process is to import all it needs itself."""

    num_cpus: float
    num_gpus: float
    fresh: bool = False


def nodes_of(listed: Sequence[Mapping[str, Any]]) -> list[Node]:
    """The living nodes of what ``ray.nodes()`` lists, those that take tasks.

    They have no GPUs where ``ACCELERATE_USE_CPU`` says that none are to be used.
    """
    alive = [entry for entry in listed if entry["Alive"]]
    on_cpu = this_launch().use_cpu
    nodes = [
        Node(
            id=entry["NodeID"],
            address=entry["NodeManagerAddress"],
            num_cpus=entry["Resources"].get("CPU", 0.0),
            num_gpus=0.0 if on_cpu else entry["Resources"].get("GPU", 0.0),
        )
        for entry in alive
    ]
    return [node for node in nodes if node.num_cpus > 0]


def request_of(cell: Cell, nodes: Sequence[Node], *, jobs: int | None) -> Request:
    """What `cell` is to ask for on a cluster of `nodes`.

    A cell uses its processes times their threads. One that leaves the threads open is given a node
    to itself, or, of `jobs` side by side, its share of one; where there are GPUs, one for each
    process and the cores that go with them. No cell asks for more cores than every node has.

    Raises:
        InputError: there is no node, or none has the GPUs.
    """
    if not nodes:
        raise InputError("ray_address: the cluster has no node that takes tasks; start a worker")
    gpus = max(node.num_gpus for node in nodes)
    share = min(node.num_cpus for node in nodes)
    if gpus:
        if cell.num_processes > gpus:
            raise InputError(
                f"processes: {cell.num_processes} need as many GPUs on one node; the largest node "
                f"of the cluster has {gpus:g}"
            )
        with_gpu = [node for node in nodes if node.num_gpus >= cell.num_processes]
        share = min(node.num_cpus * cell.num_processes / node.num_gpus for node in with_gpu)
    elif jobs:
        share /= -(-jobs // len(nodes))
    used = cell.num_processes * (cell.num_threads or share)
    num_cpus = min(used, share)
    return Request(
        num_cpus=float(int(num_cpus)) if num_cpus >= 1 else num_cpus,
        num_gpus=float(cell.num_processes) if gpus else 0.0,
    )


def told_workers() -> dict[str, str]:
    """The variables of this process that a run elsewhere needs as well."""
    return {name: os.environ[name] for name in _TOLD if name in os.environ}


def run_on_worker(
    cell: Cell, *, request: Request, told: Mapping[str, str], version: str, work_dir: str
) -> Attempt:
    """Run `cell` in a child of this worker of Ray, and give what it left.

    It stays a task, though what starts it outlives it: an actor would hold its share of a node with
    nothing to run, and its run could not be cancelled.

    Args:
        cell: what to run.
        request: what Ray has granted.
        told: variables that the worker's own go over.
        version: of the mnistbench that sends it.
        work_dir: where the sweep was started; the run works there too, if this node has it.

    Raises:
        KeyboardInterrupt: the task was cancelled; the child has ended.
    """
    if version != __version__:
        why = f"Ray's worker has mnistbench {__version__}, not {version}; install the same"
        return Attempt(cell, None, why, refused=True)
    os.environ.pop("OMP_NUM_THREADS", None)  # Ray's, which a run would take for the user's
    os.environ.update({name: value for name, value in told.items() if name not in os.environ})
    with TemporaryDirectory(prefix="mnistbench-") as folder:
        attempt = _run(cell, request, Path(folder), work_dir=Path(work_dir))
    if attempt.refused and not Path(work_dir).is_dir():
        more = f"; {work_dir}, where the sweep was started, is not on its node"
        return attempt._replace(error=f"{attempt.error}{more}")
    return attempt


def _run(cell: Cell, request: Request, folder: Path, *, work_dir: Path) -> Attempt:
    own, threads = attempt_folder(folder, cell), int(request.num_cpus) // cell.num_processes
    child = cell.start(
        own,
        num_threads=None if request.num_cpus >= usable_cores() else max(1, threads),
        shared_cores=not _has_the_machine(request),
        work_dir=work_dir if work_dir.is_dir() else None,
        start_child=Child if request.fresh else _by_this_worker().start,
    )
    try:
        while not child.wait(_LOOK_S):
            pass  # a cancelled task is interrupted between calls only
    finally:
        end_all([child])
    return cell.ended(child, folder=own)


def _by_this_worker() -> Preloaded:
    """What runs of this worker are started by, as long as its GPUs are the same."""
    granted = os.environ.get("CUDA_VISIBLE_DEVICES")
    for other in _preloaded.keys() - {granted}:  # another worker may have its GPUs by now
        _preloaded.pop(other).close()
    return _preloaded.setdefault(granted, Preloaded())


def _has_the_machine(request: Request) -> bool:
    """Whether nothing that Ray knows of can run beside the task."""
    import ray

    own_id, nodes = ray.get_runtime_context().get_node_id(), nodes_of(ray.nodes())
    own = next((node for node in nodes if node.id == own_id), None)
    if own is None:
        return False
    return request.num_cpus >= own.num_cpus and sum(n.address == own.address for n in nodes) == 1
