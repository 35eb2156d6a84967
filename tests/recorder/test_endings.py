"""What ends a process that records, from outside."""

import os
import signal

import pytest

from mnistbench.recorder.endings import heard_endings, status_of
from mnistbench.schema.errors import Terminated

ENDS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def as_a_shell_starts():
    for number in ENDS:
        signal.signal(number, signal.SIG_DFL)


def heard():
    return heard_endings(lambda: None, in_time=lambda _error: None)


class UnsayableError(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UnsayableError(), "UnsayableError"),
        (ValueError("401 of hub?token=abc123&x=1"), "ValueError: 401 of hub?token=…"),
    ],
)
def test_any_error_is_said_without_secrets(error, said):
    assert status_of(error, None) == ("failed", said)


def test_ctrl_c_while_a_record_is_written_waits_for_it():
    written = []

    def ends():
        with heard() as endings:
            endings.defer()
            os.kill(os.getpid(), signal.SIGINT)
            written.append(endings.asked)

    with pytest.raises(KeyboardInterrupt):
        ends()
    assert written == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", ENDS)
def test_signals_raise_inside_and_do_what_they_did_after(number):
    with heard() as endings:
        with pytest.raises(Terminated):
            os.kill(os.getpid(), number)
        assert endings.asked == number
        endings.asked = None  # else this process would end by it
    assert signal.getsignal(number) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("is_first", [True, False])
def test_a_scripts_own_handler_stays(is_first):
    caught = []

    def own(number, _frame):
        caught.append(number)

    if is_first:
        signal.signal(signal.SIGTERM, own)
    with heard() as endings:
        signal.signal(signal.SIGTERM, own)
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught == [signal.SIGTERM]
    assert endings.asked is None
    assert signal.getsignal(signal.SIGTERM) is own
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_who_else_is_woken_by_signals_stays_so():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)  # as asyncio does in a notebook
    with heard():
        assert signal.set_wakeup_fd(writer) == writer
    assert signal.set_wakeup_fd(-1) == writer
    for descriptor in (reader, writer):
        os.close(descriptor)
