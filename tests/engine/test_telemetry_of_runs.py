"""What a real run's record says of its machine, and of time in which the run stood still."""

from contextlib import contextmanager

from mnistbench.analysis.stability import stood_still
from mnistbench.engine.run_seeds import train
from mnistbench.recorder.clock import Ledger
from tests.engine.interrupted import LATEST, interrupt


def test_every_run_has_telemetry_and_each_seed_its_own(small_config):
    records = train(small_config(num_seeds=2, max_steps=400, num_epochs=500))
    for record in records:
        found = record.telemetry
        assert found.num_samples >= 1
        assert found.rss_peak_bytes > 50 * 2**20
        assert found.device_memory_peak_bytes is None
        assert found.gpu_power_w is None
        assert record.stood_still_s is not None
    assert records[0].telemetry != records[1].telemetry


def test_a_run_that_stood_still_says_so_also_if_it_was_resumed(small_config, monkeypatch):
    @contextmanager
    def stopped(ledger):
        ledger.stood_still_s += 60.0
        yield

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "watched", stopped)
        interrupt(patch, small_config(num_epochs=2), at_step=3)
    (record,) = train(small_config(num_epochs=2, **LATEST))
    assert len(record.interruptions) == 1
    assert stood_still(record)
    assert record.stood_still_s >= 60
