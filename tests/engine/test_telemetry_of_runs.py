"""What a real run's record says of its machine."""

from mnistbench.engine.run_seeds import train


def test_every_run_has_telemetry_and_each_seed_its_own(small_config):
    records = train(small_config(num_seeds=2, max_steps=40, num_epochs=50))
    for record in records:
        found = record.telemetry
        assert found.num_samples >= 1
        assert found.rss_peak_bytes > 50 * 2**20
        assert found.device_memory_peak_bytes is None
        assert found.gpu_power_w is None
    assert records[0].telemetry != records[1].telemetry
