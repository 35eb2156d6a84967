"""Processes meet in one life of theirs, whatever an earlier one left, and not for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from torch.distributed import HashStore, TCPStore

from mnistbench.engine.rendezvous import _name_of_this_life, rendezvous_kwargs
from mnistbench.schema.errors import ProcessLostError
from tests.processes import free_port, rendezvous

SOON = timedelta(seconds=20)


def life(store, rank, number):
    return named(store, rank, number, missing=set(range(1, number)))


named = partial(_name_of_this_life, over=threading.Event())


def meet(store, *ranks, num_processes, late_s=0.0):
    """The name that each of these processes has, the last of them coming later."""

    def one(rank):
        if rank == ranks[-1]:
            time.sleep(late_s)
        return life(store, rank, num_processes)

    with ThreadPoolExecutor(len(ranks)) as pool:
        return list(pool.map(one, ranks))


@pytest.mark.parametrize("late", [0, 1, 2])
def test_all_have_one_name_whoever_comes_last(late):
    order = [rank for rank in range(3) if rank != late] + [late]
    names = meet(HashStore(), *order, num_processes=3, late_s=0.1)
    assert len(set(names)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 1])
def test_a_later_life_never_takes_the_name_of_an_earlier(late):
    store = HashStore()
    lives = [meet(store, 1 - late, late, num_processes=2, late_s=0.1) for _ in range(3)]
    assert all(len(set(names)) == 1 for names in lives)
    assert len({names[0] for names in lives}) == 3


def test_a_life_may_have_other_processes_than_the_one_before():
    store = HashStore()
    names = [meet(store, *range(number), num_processes=number)[0] for number in (3, 1, 2, 4)]
    assert len(set(names)) == 4


def test_who_was_told_another_number_does_not_come():
    store, missing = HashStore(), {1}
    with ThreadPoolExecutor(3) as pool:
        pool.submit(named, store, 0, 2, missing=missing)
        pool.submit(life, store, 1, 3)
        store.wait(["here-1-of-3"], SOON)
        assert missing == {1}
        assert pool.submit(life, store, 1, 2).result(timeout=20)
        store.set("come-1", store.get("here-1-of-3"))  # only now, that the test may end
    assert missing == set()


@pytest.mark.parametrize("timeout_s", [5.0, 600.0])
def test_the_wait_is_told_to_accelerate_also_where_it_is_its_default(timeout_s):
    told = rendezvous_kwargs(timeout_s).to_kwargs()
    assert told["timeout"].total_seconds() == pytest.approx(timeout_s, abs=0.01)
    assert told["init_method"] == "mnistbench://"


def test_pytorchs_rendezvous_gives_a_store_under_the_common_name(monkeypatch):
    from torch.distributed.rendezvous import rendezvous as by_url

    port = free_port()
    for name, value in rendezvous(1, port=port).items():
        monkeypatch.setenv(name, value)
    main = TCPStore("127.0.0.1", port, 2, is_master=True, timeout=SOON, wait_for_workers=False)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: next(by_url("mnistbench://", timeout=SOON)))
        name = life(main, 0, 2)
        store, rank, number = other.result(timeout=20)
    assert (rank, number) == (1, 2)
    store.set("word", "said")
    assert main.get(f"{name}/word") == b"said"


def test_one_process_alone_meets_nobody(monkeypatch):
    from torch.distributed.rendezvous import rendezvous as by_url

    monkeypatch.setenv("MASTER_ADDR", "no-such-host.invalid")
    store, rank, number = next(iter(by_url("mnistbench://", timeout=SOON)))
    store.set("a", "b")
    assert (store.get("a"), rank, number) == (b"b", 0, 1)


@pytest.mark.parametrize("main", [True, False])
def test_who_waited_in_vain_leaves_nothing_that_calls_the_store(monkeypatch, main):
    """A thread that does so as Python ends is ended inside C++, which aborts the process."""
    from torch.distributed.rendezvous import rendezvous as by_url

    port = free_port()
    for name, value in rendezvous(0 if main else 1, port=port).items():
        monkeypatch.setenv(name, value)
    before = set(threading.enumerate())
    other = {"is_master": not main, "timeout": SOON, "wait_for_workers": False}
    keeper = None if main else TCPStore("127.0.0.1", port, 2, **other)
    with pytest.raises(ProcessLostError, match=r"process 1 did not come|not all processes met"):
        next(iter(by_url("mnistbench://", timeout=timedelta(seconds=1))))
    assert set(threading.enumerate()) == before
    del keeper
