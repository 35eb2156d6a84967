"""The ledger: exclusive and complete, and what they do not tell."""

import itertools
import signal
import subprocess
import sys
import time

import pytest

from mnistbench.recorder import clock
from mnistbench.recorder.clock import EventTimer, Ledger, StepTimer, process_age_s
from mnistbench.schema.record import PHASES


class FakeClock:
    """Stands for both clocks of the ledger; time passes only when told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        self.asleep = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(clock, "_wall_now_s", lambda: self.now + self.asleep)


def test_phases_are_exclusive_and_nest(monkeypatch):
    fake = FakeClock(monkeypatch)
    ledger = Ledger(age_s=3.0)
    fake.now += 1
    with ledger.phase("train"):
        fake.now += 5
        with ledger.phase("eval"):
            fake.now += 2
        assert ledger.spent_s("train") == 5
        fake.now += 4
        assert ledger.spent_s("train") == 9
    wall_s = ledger.close()
    spent = {"import": 3.0, "other": 1.0, "train": 9.0, "eval": 2.0}
    assert ledger.phases_s == dict.fromkeys(PHASES, 0.0) | spent
    assert wall_s == 15


def test_a_phase_left_by_an_exception_still_counts(monkeypatch):
    fake = FakeClock(monkeypatch)
    ledger = Ledger()
    try:
        with ledger.phase("data"):
            fake.now += 2
            raise RuntimeError
    except RuntimeError:
        fake.now += 1
    ledger.close()
    assert (ledger.phases_s["data"], ledger.phases_s["other"]) == (2, 1)


BEAT = (0.23, 0.23, 0)  # what passes from one beat to the next: the clock, computing, pages read
STANDING = {
    "in time": ([BEAT, BEAT], 0.0),
    "a neighbour has the core": ([(0.24, 0.1, 0)] * 9, 0.0),
    "stopped": ([BEAT, (6.23, 0.23, 0), BEAT], 6.0),
    "stopped as it ends": ([BEAT, (6.23, 0.0, 0)], 6.0),
    "stopped, with four threads": ([(0.23, 0.9, 0), (6.23, 0.9, 0)], 6.0),
    "throttled": ([(0.28, 0.1, 0)] * 10, 0.5),
    "a call computes and lets no thread wake": ([BEAT, (6.23, 6.2, 0)], 0.0),
    "a call reads from a disk": ([BEAT, (6.23, 0.23, 100)], 0.0),
}


@pytest.mark.parametrize(("beats", "expected"), STANDING.values(), ids=STANDING)
def test_what_stands_still_is_told_from_what_computes_reads_or_waits(monkeypatch, beats, expected):
    columns = zip(*beats, strict=True)
    sums = zip(*(itertools.accumulate(c, initial=0) for c in columns), strict=True)
    used = iter(tuple(sums))
    monkeypatch.setattr(clock, "_used", lambda: next(used))
    ended = iter([False] * (len(beats) - 1) + [True])
    ledger = Ledger()
    ledger._watch(lambda _wait_s: next(ended))
    assert ledger.stood_still_s == pytest.approx(expected)
    later = Ledger()
    later.restore(*ledger.state())  # a run that goes on had stood still before
    later.restore(ledger.state()[0][: len(PHASES)], 0.0)  # as earlier releases saved it
    assert later.stood_still_s == ledger.stood_still_s


@pytest.mark.processes
def test_a_process_that_is_stopped_notices():
    code = (
        "import sys; from mnistbench.recorder.clock import Ledger\n"
        "ledger = Ledger()\n"
        "with ledger.watched():\n"
        "    print('in', flush=True)\n"
        "    sys.stdin.readline()\n"
        "print(ledger.stood_still_s)"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True
    ) as child:
        assert child.stdout.readline() == "in\n"
        child.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate("on\n", timeout=60)
    assert float(said) > 0.2


def test_the_device_is_waited_for_around_a_window_never_inside():
    waits = []
    ledger = Ledger(synchronize=lambda: waits.append(1))
    with ledger.phase("train"):
        assert len(waits) == 1
        ledger.spent_s("train")
        assert len(waits) == 1
    assert len(waits) == 2


@pytest.mark.processes
def test_process_age_counts_from_the_start_of_the_process():
    code = (
        "import time; time.sleep(0.3); "
        "from mnistbench.recorder.clock import process_age_s; print(process_age_s())"
    )
    before = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    passed = time.monotonic() - before
    assert 0.28 <= float(done.stdout) <= passed + 0.02
    assert process_age_s() > 0


def test_step_durations_leave_out_what_lies_between_windows(monkeypatch):
    fake = FakeClock(monkeypatch)
    timer = StepTimer()
    for _ in range(2):
        fake.now += 50
        timer.start()
        for _ in range(3):
            fake.now += 0.5
            timer.mark()
    assert timer.durations_s() == [0.5] * 6


class Device:
    """Comes past the events recorded on it when told to; `alive` of them are kept."""

    def __init__(self, *times_ms):
        self.times_ms, self.done_ms, self.alive = iter(times_ms), float("inf"), 0

    def event(self):
        device = self
        device.alive += 1

        class Event:
            def record(self):
                self.at_ms = next(device.times_ms)

            def query(self):
                return self.at_ms <= device.done_ms

            def elapsed_time(self, other):
                assert self.query(), "not known yet"
                assert other.query(), "not known yet"
                return other.at_ms - self.at_ms

            def __del__(self):
                device.alive -= 1

        return Event()


def test_event_durations_come_from_events_within_a_window():
    timer = EventTimer(Device(0, 1, 3, 100, 104, 200, 206).event)
    timer.restore([7.0])
    timer.start()
    timer.mark()
    timer.mark()
    timer.start()
    timer.mark()
    timer.start()
    timer.mark(2)
    assert timer.durations_s() == [7.0, 0.001, 0.002, 0.004, 0.003, 0.003]


def test_events_are_kept_no_longer_than_until_the_next_window():
    device = Device(*range(10_000))
    timer, most = EventTimer(device.event), 0
    for _ in range(100):
        timer.start()
        for _ in range(20):
            timer.mark()
        most = max(most, device.alive)
    assert most == 21
    assert timer.durations_s() == [0.001] * 2000


def test_events_that_the_device_has_not_come_to_are_kept_without_waiting():
    device = Device(*range(10_000))
    device.done_ms = 5
    timer = EventTimer(device.event)
    for _ in range(4):  # at 0 to 2, 3 to 5, 6 to 8, 9 to 11
        timer.start()
        timer.mark()
        timer.mark()
    assert device.alive == 6
    device.done_ms = 99
    assert timer.durations_s() == [0.001] * 8


def test_a_step_that_is_paused_takes_what_it_took_before_and_after(monkeypatch):
    fake, device = FakeClock(monkeypatch), Device(0, 1, 3, 50, 54, 60, 61, 90, 92)
    host, events = StepTimer(), EventTimer(device.event)
    for timer in (host, events):
        timer.start()
        fake.now += 1
        timer.mark()
        fake.now += 2
        timer.pause()
        fake.now += 47
        timer.resume()
        fake.now += 4
        timer.mark()
        fake.now += 6
        timer.start()  # of a step that was left, nothing goes into the next
        fake.now += 1
        timer.pause()
        timer.start()
        fake.now += 2
        timer.mark()
    assert host.durations_s() == [1, 6, 2]
    assert events.durations_s() == [0.001, 0.006, 0.002]
