"""Signals that end a run."""

import threading

import pytest

from mnistbench.engine.stop_signals import deferred_signals


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
