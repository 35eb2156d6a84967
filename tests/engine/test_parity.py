"""One global batch over 1, 2 and 4 processes, and in pieces, is one run: by the real launcher."""

import pytest
import torch

from mnistbench.engine.run_seeds import train
from mnistbench.schema.errors import InputError

pytestmark = pytest.mark.usefixtures("whole_test_set")

# 320 training images in batches of 48 (the last of 32), and 99 of val: not all divides by four
VALUES = {
    "synthetic_train_size": 419,
    "val_size": 99,
    "global_batch_size": 48,
    "num_epochs": 1,
    "lr": 0.05,
    "lr_schedule": "cosine",
    "augment": ("shift",),
}
FLAGS = [
    *("--dataset", "synthetic", "--synthetic-train-size", "419", "--val-size", "99"),
    *("--global-batch-size", "48", "--num-epochs", "1", "--lr", "0.05", "--num-threads", "1"),
    *("--lr-schedule", "cosine", "--augment", "shift"),
]


def losses(record):
    return torch.tensor([point.loss for point in record.train_points], dtype=torch.float64)


def counts(record):
    return [(point.split, point.num_samples, point.accuracy) for point in record.eval_points]


@pytest.mark.processes
@pytest.mark.parametrize("num_processes", [2, 4])
def test_equal_pieces_give_equal_bits(launch, small_config, num_processes):
    pieces = ["--exact-parity", "--gradient-accumulation-steps", str(4 // num_processes)]
    done, records = launch(*FLAGS, *pieces, num_processes=num_processes)
    assert done.returncode == 0, done.stderr
    (alone,) = train(small_config(**VALUES, exact_parity=True, gradient_accumulation_steps=4))
    assert torch.equal(losses(records[0]), losses(alone))
    assert counts(records[0]) == counts(alone)
    assert [count for _, count, _ in counts(alone)] == [99, 10_000]


@pytest.mark.processes
def test_the_stock_loop_on_four_processes_in_pieces_is_the_same_run(launch, small_config):
    choice = ["--loop", "stock", "--gradient-accumulation-steps", "3"]
    done, (record,) = launch(*FLAGS, *choice, num_processes=4)
    assert done.returncode == 0, done.stderr
    (alone,) = train(small_config(**VALUES, loop="stock"))
    torch.testing.assert_close(losses(record), losses(alone), rtol=1e-4, atol=1e-5)
    assert [count[:2] for count in counts(record)] == [count[:2] for count in counts(alone)]
    assert record.throughput.step_split is None  # DDP exchanges while it computes


@pytest.mark.processes
def test_per_device_batches_grow_with_the_processes_and_so_may_the_rate(launch):
    sizes = ["--per-device-batch-size", "16", "--lr-scaling", "linear", "--loop", "fast"]
    flags = [flag for flag in FLAGS if flag not in {"--global-batch-size", "48"}]
    done, (record,) = launch(*flags, *sizes)
    assert done.returncode == 0, done.stderr
    assert record.environment["global_batch_size"] == 32
    assert record.environment["lr_peak"] == pytest.approx(0.1)
    assert "16 each = 32, lr × 2 (linear)" in " ".join(done.stdout.split())
    split = record.throughput.step_split
    assert split.compute_s > 0
    assert split.communication_s > 0
    assert record.link.latency_s > 0
    assert record.link.bandwidth_bytes_per_s > 0


@pytest.mark.processes
def test_weights_that_fsdp_shares_out_train_as_one(launch, small_config):
    choice = ["--gradient-accumulation-steps", "2", "--eval-batch-size", "49"]  # 49 and 50 of val
    done, (record,) = launch(*FLAGS, *choice, module="tests.engine.sharded_train")
    assert done.returncode == 0, done.stderr
    assert record.environment["loop_floor_reason"].startswith("FSDP holds a share")
    (alone,) = train(small_config(**VALUES, loop="stock"))
    torch.testing.assert_close(losses(record), losses(alone), rtol=1e-4, atol=1e-5)
    assert [count[:2] for count in counts(record)] == [count[:2] for count in counts(alone)]


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["fast", "stock"])
@pytest.mark.parametrize("pieces", [3, 40])  # more than the last batch has samples
def test_accumulated_batches_train_as_one(small_config, loop, pieces):
    cut = train(small_config(**VALUES, loop=loop, gradient_accumulation_steps=pieces))[0]
    whole = train(small_config(**VALUES, loop=loop))[0]
    torch.testing.assert_close(losses(cut), losses(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.processes
def test_the_compiled_step_accumulates_as_well(small_config):
    choice = {"model": "linear", "compile": True}
    cut = train(small_config(**VALUES, **choice, gradient_accumulation_steps=2))[0]
    assert cut.environment["loop_floor"] == "compiled"
    whole = train(small_config(**VALUES, model="linear"))[0]
    torch.testing.assert_close(losses(cut), losses(whole), rtol=1e-3, atol=1e-4)


def test_a_process_alone_waits_for_nobody(small_config):
    (record,) = train(small_config(**VALUES))
    split = record.throughput.step_split
    assert split.compute_s == pytest.approx(record.throughput.step_s_p50)
    assert (split.communication_s, split.wait_s, split.skew_s) == (0, 0, 0)
    assert record.link is None


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"model": "resnet-mini"}, "exact_parity: BatchNorm2d goes by the process"),
        ({"model": "mlp", "dropout": 0.5}, "exact_parity: Dropout goes by the process"),
        ({"gradient_accumulation_steps": 3}, "needs powers of two, not 1 processes with 3 pieces"),
    ],
)
def test_what_exact_parity_cannot_promise_is_refused(small_config, values, complaint):
    with pytest.raises(InputError, match=complaint):
        train(small_config(exact_parity=True, **values))
