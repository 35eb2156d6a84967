"""The watchdog gives up what lasts too long, once, and leaves no thread behind."""

import gc
import math
import subprocess
import sys
import threading
import weakref
from types import SimpleNamespace

import pytest

from mnistbench.engine import watchdog as watchdog_module
from mnistbench.engine.watchdog import Watchdog

LONG_S = 60


@pytest.fixture
def given_up():
    """Called as `give_up`; its `event` is set then, and `waited` holds the seconds."""

    class GivenUp:
        def __init__(self):
            self.event, self.waited = threading.Event(), []

        def __call__(self, waited_s):
            self.waited.append(waited_s)
            self.event.set()

    return GivenUp()


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_what_lasts_too_long_is_given_up_once(given_up):
    with Watchdog(0.05, given_up) as watchdog, watchdog.armed():
        assert given_up.event.wait(LONG_S)
    assert len(given_up.waited) == 1
    assert given_up.waited[0] >= 0.05


class Clock:
    """Time that passes only in the thread's sleeps; at its moments things happen."""

    def __init__(self, monkeypatch, *events):
        self.now, self.events = 0.0, list(events)
        monkeypatch.setattr(watchdog_module, "monotonic", lambda: self.now)

    def wait(self, sleep_s):
        """The thread's sleep; true where the run ended in it."""
        until = self.now + sleep_s
        while self.events and self.events[0][0] <= until:
            self.now, happens = self.events.pop(0)
            if happens is None:
                return True
            happens()
        self.now = until
        return False


def watched(monkeypatch, given_up, *events):
    """When it was given up, limit 10, as `events` happen, named by what the watchdog is told."""
    dog = Watchdog(10, given_up)
    clock = Clock(monkeypatch, *[(at, name and getattr(dog, name)) for at, name in events])
    monkeypatch.setattr(dog, "_ended", clock)
    dog._watch()
    return clock.now


def test_one_armed_while_the_thread_sleeps_is_given_up_just_in_time(monkeypatch, given_up):
    assert watched(monkeypatch, given_up, (3, "arm"), (99, None)) == 13
    assert given_up.waited == [10]


def test_what_ends_in_time_or_is_begun_anew_is_not_given_up(monkeypatch, given_up):
    events = [(3, "arm"), (9, "arm"), (18, "disarm"), (20, "arm"), (29, "disarm"), (50, None)]
    assert watched(monkeypatch, given_up, *events) == 50
    assert given_up.waited == []


def test_a_process_that_was_stopped_waits_anew(monkeypatch, given_up):
    dog = Watchdog(10, given_up)
    clock = Clock(monkeypatch)
    stopped_s = iter([600, 0])

    def sleep(sleep_s):
        clock.now += sleep_s + next(stopped_s)

    monkeypatch.setattr(dog, "_ended", SimpleNamespace(wait=sleep))
    dog.arm()
    dog._watch()
    assert (clock.now, given_up.waited) == (620, [620])


def test_after_a_block_in_another_the_outer_one_begins_anew(monkeypatch, given_up):
    clock = Clock(monkeypatch)
    dog = Watchdog(10, given_up)
    with dog.armed():
        clock.now = 8
        with dog.armed():
            clock.now = 16
        monkeypatch.setattr(dog, "_ended", clock)
        dog._watch()
        assert (clock.now, given_up.waited) == (26, [10])
    clock.events = [(60, None)]
    dog._watch()
    assert (clock.now, given_up.waited) == (60, [10])


def test_what_is_called_is_the_innermost_blocks(monkeypatch, given_up):
    other = []
    clock = Clock(monkeypatch)
    dog = Watchdog(10, given_up)
    monkeypatch.setattr(dog, "_ended", clock)
    with dog.armed():
        with dog.armed(other.append):
            dog._watch()
        assert (given_up.waited, other) == ([], [10])
        dog._watch()
        assert (given_up.waited, other) == ([10], [10])


def test_an_error_inside_disarms_and_is_passed_on(monkeypatch, given_up):
    clock = Clock(monkeypatch, (60, None))
    dog = Watchdog(10, given_up)
    monkeypatch.setattr(dog, "_ended", clock)
    with pytest.raises(KeyError), dog.armed():
        raise KeyError
    dog._watch()
    assert given_up.waited == []


def test_the_end_does_not_wait_for_the_limit(given_up):
    with Watchdog(1e6, given_up) as watchdog, watchdog.armed():
        pass
    assert given_up.waited == []


def test_without_a_limit_there_is_no_thread(given_up):
    threads = threading.active_count()
    with Watchdog(math.inf, given_up) as watchdog, watchdog.armed():
        assert threading.active_count() == threads


def test_an_interrupt_as_the_thread_starts_leaves_none(given_up, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt), Watchdog(LONG_S, given_up):
            pass


def test_nothing_is_held_after_the_end():
    class Tensor:
        def lose(self, waited_s):
            pass

    tensor = Tensor()
    gone = weakref.ref(tensor)
    with Watchdog(LONG_S, print) as watchdog:
        with watchdog.armed(tensor.lose):
            pass
        del tensor
        gc.collect()
        assert gone() is None


@pytest.mark.processes
def test_a_main_thread_that_waits_in_the_driver_does_not_hold_the_process():
    code = (
        "import os, select\n"
        "from mnistbench.engine.watchdog import Watchdog\n"
        "with Watchdog(0.1, lambda _: os._exit(7)) as dog, dog.armed():\n"
        "    select.select([], [], [])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 7
