"""Workers of the streaming loader need little of a machine, and their loss ends a run in a line."""

import os
import select
import signal
import tempfile
import threading
import time
from contextlib import suppress
from multiprocessing import active_children

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from mnistbench.engine.data import streaming_batches
from mnistbench.engine.memory import memory_errors
from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import RunError
from mnistbench.schema.store import find_records, load_record
from mnistbench.workload.batches import BatchPlan
from mnistbench.workload.image_set import ImageSet

pytestmark = [
    pytest.mark.processes,
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # on fewer cores than workers
]
BATCH = 300  # more than a pipe holds


class Digits(Dataset):
    """Blank digits; of the one at `where`, `event` happens."""

    def __init__(self, event=None, where=5 * BATCH):
        self.event, self.where = event, where

    def __getitem__(self, index):
        if index == self.where and self.event:
            self.event()
        return Image.new("L", (28, 28)), index % 10


def batches(dataset, num_workers=1, timeout_s=60.0):
    plan = BatchPlan(num_samples=10 * BATCH, global_batch_size=BATCH, num_steps=10, seed=0)
    device = torch.device("cpu")
    return streaming_batches(
        plan, dataset=dataset, device=device, num_workers=num_workers, timeout_s=timeout_s
    )


def ended_by(dataset, **values):
    """What is said as the batches end, after which no worker is left."""
    with pytest.raises(RunError) as caught, memory_errors(RunConfig(), 1):
        list(batches(dataset, **values))
    assert active_children() == []
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_neither_shared_memory_nor_a_short_temporary_folder_is_needed(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    folder = tmp_path / ("x" * 140)  # no socket has so long a path
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(torch.UntypedStorage, "_new_using_fd_cpu", refuse)
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", refuse)
    assert [len(batch.labels) for batch in batches(Digits(), num_workers=2)] == [BATCH] * 10
    assert active_children() == []


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def out_of_shared_memory():
    os.kill(os.getpid(), signal.SIGBUS)


def gone():
    os._exit(3)


def failed():
    raise ValueError("first\nsecond: no digit")


def short_of_memory():
    raise MemoryError


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (killed, "DataLoader worker (pid"),
        (out_of_shared_memory, "DataLoader worker (pid"),
        (gone, "DataLoader worker (pid"),
        (failed, "second: no digit"),
        (short_of_memory, "MemoryError"),
    ],
)
def test_a_worker_that_is_lost_or_fails_ends_the_run_in_a_line(event, said, capfd):
    line = ended_by(Digits(event), num_workers=2)
    assert line.startswith(f"a data worker failed ({said}")
    assert line.endswith(
        "); see that memory, processes and /dev/shm suffice, or use --num-workers 0"
    )
    assert "Traceback" not in capfd.readouterr().err


def out_of_threads():
    def refuse(_):
        raise RuntimeError("can't start new thread")

    threading.Thread.start = refuse  # in the worker, which sends its batches by a thread


def test_a_worker_without_a_thread_ends_the_run_in_a_line(capfd):
    said = ended_by(Digits(out_of_threads, where=0), num_workers=2)
    assert said.startswith("a data worker failed (")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "event", [lambda: time.sleep(600), lambda: os.kill(os.getpid(), signal.SIGSTOP)]
)
def test_a_worker_that_is_silent_is_ended(event):
    said = ended_by(Digits(event), timeout_s=1.0)
    assert said.startswith("a data worker gave nothing for 1 s; see what holds it, and if it is")


@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_that_cannot_start_ends_the_others(monkeypatch, capfd, number):
    forks, fork = iter(range(9)), os.fork

    def refuse():
        if next(forks) == number:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", refuse)
    said = ended_by(Digits(), num_workers=2)
    assert said.startswith("a data worker failed ([Errno 11] Resource temporarily unavailable); ")
    assert capfd.readouterr().err == ""


def lose_a_worker_elsewhere():
    with memory_errors(RunConfig(), 1):
        for _ in batches(Digits()):
            for worker in active_children():
                worker.kill()
            time.sleep(60)  # torch's handler of SIGCHLD ends it


def test_what_is_lost_while_the_run_is_elsewhere_is_a_line_too():
    with pytest.raises(RunError, match=r"\Aa data worker failed \(DataLoader worker \(pid"):
        lose_a_worker_elsewhere()
    assert active_children() == []


def test_other_errors_are_no_loss_of_a_worker():
    with pytest.raises(RuntimeError, match="another"), memory_errors(RunConfig(), 1):
        raise RuntimeError("another")
    with pytest.raises(ValueError, match="first"):  # in this process a fault shows where it is
        list(batches(Digits(failed), num_workers=0))


def test_workers_end_with_a_run_that_is_killed():
    mine, theirs = os.pipe()
    if not (run := os.fork()):
        with suppress(BaseException):
            next(batches(Digits()))
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)
    os.close(theirs)
    try:
        assert os.waitpid(run, 0)[1] == signal.SIGKILL
        assert select.select([mine], [], [], 20)[0]  # the worker had the other end
        assert os.read(mine, 1) == b""
    finally:
        os.close(mine)


def test_a_run_whose_worker_is_killed_is_on_record(small_config, tmp_path, monkeypatch):
    read = ImageSet.__getitem__

    def deadly(self, index):
        if index == 7:
            killed()
        return read(self, index)

    monkeypatch.setattr(ImageSet, "__getitem__", deadly)
    with pytest.raises(RunError, match="a data worker failed"):
        train(small_config(loader="streaming", num_workers=1, num_epochs=3))
    (path,) = find_records([tmp_path / "runs"])
    record = load_record(path)
    assert record.status == "failed"
    assert record.error.startswith("RunError: a data worker failed (DataLoader worker (pid")
