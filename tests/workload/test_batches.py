"""Batches: the same for any number of processes and any loader."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mnistbench.engine.data import streaming_batches
from mnistbench.schema.config import RunConfig
from mnistbench.workload import batches
from mnistbench.workload.augment import build_augment
from mnistbench.workload.batches import (
    BatchPlan,
    Preprocess,
    epoch_order,
    mapped_batches,
    resident_batches,
)

plans = st.builds(
    dict,
    num_samples=st.integers(1, 50),
    global_batch_size=st.integers(1, 60),
    num_steps=st.integers(1, 12),
    seed=st.integers(0, 2**31 - 1),
)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (23, 1, 28, 28), dtype=torch.uint8, generator=generator)


@pytest.fixture
def labels():
    return torch.arange(23) % 10


class PilImages(torch.utils.data.Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return Image.fromarray(self.images[index, 0].numpy()), int(self.labels[index])


@given(plans, st.integers(1, 9))
def test_processes_share_out_each_global_batch_exactly(values, num_processes):
    alone = list(BatchPlan(**values).parts())
    shared = [
        list(BatchPlan(**values, process_index=rank, num_processes=num_processes).parts())
        for rank in range(num_processes)
    ]
    for step, whole in enumerate(alone):
        parts = [parts[step] for parts in shared]
        real = [part for part in parts if part.weight > 0]
        assert torch.equal(torch.cat([part.indices for part in real]), whole.indices)
        assert sum(part.weight for part in parts) == pytest.approx(num_processes)
        assert all(len(part.indices) >= 1 for part in parts)
        offsets = [part.offset for part in real]
        ends = [part.offset + len(part.indices) for part in real]
        assert offsets == [0, *ends[:-1]]
        assert ends[-1] == part_size(whole)


def part_size(part):
    assert part.global_size == len(part.indices)
    return part.global_size


@given(plans, st.integers(2, 5))
def test_the_weighted_mean_over_processes_is_the_mean_over_the_batch(values, num_processes):
    losses = torch.arange(values["num_samples"], dtype=torch.float64)
    alone = [losses[part.indices].mean() for part in BatchPlan(**values).parts()]
    total = torch.zeros(len(alone), dtype=torch.float64)
    for rank in range(num_processes):
        plan = BatchPlan(**values, process_index=rank, num_processes=num_processes)
        total += torch.stack([losses[p.indices].mean() * p.weight for p in plan.parts()])
    torch.testing.assert_close(total / num_processes, torch.stack(alone))


@given(plans)
def test_an_epoch_uses_each_sample_once(values):
    plan = BatchPlan(**values | {"num_steps": 1})
    plan = BatchPlan(**values | {"num_steps": 2 * plan.steps_per_epoch})
    parts = [part.indices for part in plan.parts()]
    for epoch in range(2):
        one = parts[epoch * plan.steps_per_epoch : (epoch + 1) * plan.steps_per_epoch]
        assert sorted(torch.cat(one).tolist()) == list(range(plan.num_samples))
    seen = 0
    for step, indices in enumerate(parts, start=1):
        seen += len(indices)
        assert plan.samples_seen(step) == seen


def test_order_depends_on_seed_and_epoch_and_nothing_else():
    torch.manual_seed(1)
    first = epoch_order(100, seed=0, epoch=0)
    torch.manual_seed(2)
    assert torch.equal(first, epoch_order(100, seed=0, epoch=0))
    assert not torch.equal(first, epoch_order(100, seed=0, epoch=1))
    assert not torch.equal(first, epoch_order(100, seed=1, epoch=0))
    assert first[:5].tolist() == [44, 19, 93, 90, 71]  # the order is part of what a seed means


def test_edge_parts_are_the_shapes_of_an_epoch():
    plan = BatchPlan(num_samples=23, global_batch_size=10, num_steps=9, seed=0)
    assert [len(part.indices) for part in plan.warmup_shards()] == [10, 3]
    assert [len(part.indices) for part in plan.parts()] == [10, 10, 3] * 3


@pytest.mark.processes
@pytest.mark.parametrize("num_workers", [0, 2])
def test_streaming_and_resident_give_the_same_batches(images, labels, num_workers):
    plan = BatchPlan(num_samples=23, global_batch_size=5, num_steps=7, seed=3)
    resident = resident_batches(plan, images=images, labels=labels)
    streaming = streaming_batches(
        plan,
        dataset=PilImages(images, labels),
        device=torch.device("cpu"),
        num_workers=num_workers,
    )
    count = 0
    for ours, theirs in zip(resident, streaming, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
        assert ours.part.step == theirs.part.step == count
        count += 1
    assert count == 7


@given(plans, st.integers(1, 3))
def test_mapped_gives_the_batches_of_resident(values, num_processes):
    generator = torch.Generator().manual_seed(2)
    shape = (values["num_samples"] + 3, 1, 28, 28)  # val lies behind train in the same file
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.arange(len(images)) % 10
    for rank in range(num_processes):
        plan = BatchPlan(**values, process_index=rank, num_processes=num_processes)
        resident = resident_batches(plan, images=images, labels=labels)
        mapped = mapped_batches(plan, images=images, labels=labels, device=torch.device("cpu"))
        for ours, theirs in zip(mapped, resident, strict=True):
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.labels, theirs.labels)
            assert torch.equal(ours.part.indices, theirs.part.indices)
            assert ours.part[1:] == theirs.part[1:]


@pytest.mark.parametrize(
    ("disk_waits", "read_ahead_before"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0], []),
        # the second batch waits: that is asked for which two steps of reading ahead bring
        ([4, 4, 4, 5, 5, 5, 5, 5], [2, 3]),
    ],
)
def test_images_are_asked_for_ahead_only_after_a_wait(
    images, labels, monkeypatch, disk_waits, read_ahead_before
):
    told = iter(disk_waits)
    monkeypatch.setattr(batches, "disk_waits", lambda: next(told))
    monkeypatch.setattr(batches, "_READ_AHEAD_STEPS", 2)
    plan = BatchPlan(num_samples=23, global_batch_size=8, num_steps=4, seed=3)
    asked = []
    read = mapped_batches(
        plan,
        images=images,
        labels=labels,
        device=torch.device("cpu"),
        read_ahead=lambda rows: asked.append(rows.tolist()),
    )
    parts = [batch.part.indices.tolist() for batch in read]
    assert asked == [parts[step] for step in read_ahead_before]


def test_reading_a_stream_draws_nothing_from_the_runs_own_random_numbers(images, labels):
    plan = BatchPlan(num_samples=23, global_batch_size=5, num_steps=2, seed=3)
    before = torch.get_rng_state()
    device = torch.device("cpu")
    dataset = PilImages(images, labels)
    list(streaming_batches(plan, dataset=dataset, device=device, num_workers=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_preprocess_is_torchvisions_to_tensor_and_normalize(images):
    ours = Preprocess(mean=(0.1307,), std=(0.3081,))(images)
    theirs = (images.float().div(255) - 0.1307) / 0.3081
    assert ours.shape == (23, 1, 28, 28)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_augmentation_is_the_same_for_any_number_of_processes(images):
    config = RunConfig(augment=("shift", "rotate"))

    def augmented(num_processes):
        rows = []
        for rank in range(num_processes):
            plan = BatchPlan(
                num_samples=23,
                global_batch_size=23,
                num_steps=1,
                seed=0,
                process_index=rank,
                num_processes=num_processes,
            )
            (part,) = plan.parts()
            preprocess = Preprocess(mean=(0.1,), std=(0.3,), augment=build_augment(config), seed=7)
            rows.append(preprocess(images[part.indices], part))
        return torch.cat(rows)

    assert torch.equal(augmented(1), augmented(3))
    plain = Preprocess(mean=(0.1,), std=(0.3,))(images[epoch_order(23, seed=0, epoch=0)])
    assert not torch.allclose(augmented(1), plain)
