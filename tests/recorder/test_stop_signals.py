"""Signals that end a run."""

import os
import signal
import threading

import pytest

from mnistbench.recorder import stop_signals
from mnistbench.recorder.stop_signals import deferred_signals, obeyed_in_time
from mnistbench.schema.errors import Terminated
from mnistbench.schema.signals import stop_error


def test_an_interrupt_while_signals_begin_to_be_noted_leaves_no_thread(monkeypatch):
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), deferred_signals(lambda _: None):
        pass
    assert threading.active_count() == threads


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_deaf_to_a_signal_is_ended_in_time(number, monkeypatch):
    monkeypatch.setattr(stop_signals, "_PATIENCE_S", 0.05)
    signal.signal(number, lambda *_: None)  # as one that waits inside a library
    ended, given_up = threading.Event(), []
    with obeyed_in_time(lambda asked: (given_up.append(asked), ended.set())):
        os.kill(os.getpid(), number)
        assert ended.wait(30)
    assert given_up == [number]


def test_who_obeys_is_left_alone(monkeypatch):
    monkeypatch.setattr(stop_signals, "_PATIENCE_S", 0.0)
    given_up = []
    with obeyed_in_time(given_up.append):
        pass
    assert given_up == []


@pytest.mark.parametrize(
    "sent", [(signal.SIGHUP,) * 3, (signal.SIGHUP, signal.SIGTERM), (signal.SIGTERM, signal.SIGHUP)]
)
def test_what_a_terminal_and_its_shell_send_as_they_close_is_one_stop(sent):
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: pytest.fail("a second one ends it at once"))
    with deferred_signals(lambda _: None) as stops:
        for number in sent:
            os.kill(os.getpid(), number)
    assert stops.asked == sent[0]


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, Terminated),
        (signal.SIGHUP, Terminated),
    ],
)
def test_each_signal_has_its_error(number, raised):
    assert type(stop_error(number)) is raised
