"""Profilers as hooks that watch some steps of a run: memory, Python's stack, NVTX ranges.

Files go to ``traces/`` in the run's folder, one of each kind for each process, named
``<node>_<process>`` as TensorBoard's profiler plugin wants its workers named. torch's own profiler
is in `mnistbench.recorder.operator_trace`. Python's stack can be sampled without torch.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from mnistbench.recorder.hooks import Hook, RunView
from mnistbench.recorder.launcher import this_launch
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import no_link, write_whole

TRACES = "traces"
_log = logging.getLogger(__name__)


def write_trace(watched: RunView, ending: str, content: str | bytes) -> None:
    """Write a file of this process to the folder for traces, which is made: whole or not at all.

    Raises:
        InputError, OSError: it cannot be written.
    """
    folder = no_link(watched.run_folder / TRACES)
    node = this_launch().machine_rank
    write_whole(folder / f"node{node}_{watched.process_index}.{ending}", content)


class StepsHook(Hook):
    """Watches some steps of a run: `watch` is entered before the first, left after the last.

    Attributes:
        num_watched: steps that were made inside.
    """

    lead_steps = 0
    """Steps before the first at which `watch` is entered already."""

    def __init__(self, steps: range) -> None:
        """Watch `steps`, each of which is a call of its own."""
        self.steps, self.num_watched = steps, 0
        self._entered: ExitStack | None = None

    @abstractmethod
    def watch(self, watched: RunView) -> AbstractContextManager[object]:
        """What surrounds the steps."""

    def after_step(self) -> None:
        """Called after each step inside, before `watch` is left."""

    @contextmanager
    def run(self, watched: RunView) -> Iterator[None]:  # noqa: ARG002 - as Hook has it
        """Leave `watch` also where the run ends among the steps."""
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def step(self, watched: RunView) -> Iterator[None]:
        """Enter before the first of the steps, leave after the last."""
        step, first = watched.step, self.steps.start - self.lead_steps
        if self._entered is None and first <= step < self.steps.stop:
            self._entered = ExitStack()
            self._entered.enter_context(self.watch(watched))
        yield
        if self._entered is not None:
            self.num_watched += step in self.steps
            with self._no_room():
                self.after_step()
            if step + 1 >= self.steps.stop:
                self._leave()

    def _leave(self) -> None:
        if self._entered is not None:
            with self._no_room():
                self._entered.close()
            self._entered, self.steps = None, range(0)

    @contextmanager
    def _no_room(self) -> Iterator[None]:
        """A file that cannot be written is no reason to end the run: nothing was watched then."""
        try:
            yield
        except (InputError, OSError) as error:
            self.num_watched, said = 0, str(error)
            if isinstance(error, OSError):
                said = f"{error.filename or TRACES}: cannot be written ({error.strerror})"
            _log.warning(f"profile: {said}")


class CudaMemory(StepsHook):
    """A snapshot of all CUDA allocations with their stacks, for pytorch.org/memory_viz."""

    @contextmanager
    def watch(self, watched: RunView) -> Iterator[None]:
        """Record allocations, then write what there was."""
        from torch.cuda import memory

        memory._record_memory_history(max_entries=1_000_000)  # noqa: SLF001 - torch's own way
        try:
            yield
            with TemporaryDirectory(prefix="mnistbench-") as folder:
                path = Path(folder) / "snapshot"
                memory._dump_snapshot(str(path))  # type: ignore[no-untyped-call]  # noqa: SLF001
                write_trace(watched, "memory.pickle", path.read_bytes())
        finally:
            memory._record_memory_history(enabled=None)  # noqa: SLF001


class PythonSampling(StepsHook):
    """Samples of Python's stack by pyinstrument: a flame graph, and a file for speedscope.app."""

    @contextmanager
    def watch(self, watched: RunView) -> Iterator[None]:
        """Take samples, then write both files."""
        from pyinstrument import Profiler
        from pyinstrument.renderers import HTMLRenderer, SpeedscopeRenderer

        with Profiler(interval=0.001, async_mode="disabled") as profiler:
            yield
        renderers = {"html": HTMLRenderer(), "speedscope.json": SpeedscopeRenderer()}
        for ending, renderer in renderers.items():
            write_trace(watched, f"sampling.{ending}", profiler.output(renderer))


class NvtxRanges(StepsHook):
    """NVTX ranges round the watched steps, and round epochs, evaluations and checkpoints."""

    def __init__(self, steps: range) -> None:
        """As `StepsHook`."""
        super().__init__(steps)
        from torch.cuda import nvtx

        self._range = nvtx.range

    @contextmanager
    def watch(self, watched: RunView) -> Iterator[None]:  # noqa: ARG002 - as StepsHook has it
        """Have torch name its operators too."""
        from torch.autograd.profiler import emit_nvtx

        with emit_nvtx():  # type: ignore[no-untyped-call]
            yield

    @contextmanager
    def step(self, watched: RunView) -> Iterator[None]:
        """A range for the step, where it is watched."""
        named = self._range(f"step {watched.step}")
        with super().step(watched), named if watched.step in self.steps else nullcontext():
            yield

    def epoch(self, watched: RunView) -> AbstractContextManager[object]:
        """A range for the epoch."""
        return self._range(f"epoch {watched.step // (watched.steps_per_epoch or 1)}")

    def eval(self, watched: RunView) -> AbstractContextManager[object]:
        """A range for the evaluation."""
        return self._range(f"evaluation after step {watched.step}")

    def checkpoint(self, watched: RunView) -> AbstractContextManager[object]:
        """A range for the checkpoint."""
        return self._range(f"checkpoint after step {watched.step}")
