"""Batches: the same for any number of processes and any loader."""

import hashlib
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import Normalize
from torchvision.transforms.functional import pil_to_tensor

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
from mnistbench.workload.image_set import ImageSet

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


@st.composite
def image_sets(draw):
    """Images of any channels, height, width and type, and their labels."""
    channels, height, width = draw(st.tuples(*[st.integers(1, most) for most in (4, 12, 12)]))
    num, num_classes = draw(st.integers(1, 50)), draw(st.integers(2, 20))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    images = torch.randint(0, 256, (num, channels, height, width), generator=generator).byte()
    if draw(st.booleans()):
        images = images.float() / 255
    labels = torch.randint(num_classes, (num,), generator=generator)
    return ImageSet(images.numpy(), labels.numpy())


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
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on fewer cores than workers
def test_workers_give_the_batches_of_this_process(images, labels):
    plan = BatchPlan(num_samples=23, global_batch_size=5, num_steps=7, seed=3)
    dataset, device = ImageSet(images.numpy(), labels.numpy()), torch.device("cpu")
    resident = resident_batches(plan, images=images, labels=labels)
    streaming = streaming_batches(plan, dataset=dataset, device=device, num_workers=2)
    for step, (ours, theirs) in enumerate(zip(resident, streaming, strict=True)):
        assert_same(ours, theirs)
        assert ours.part.step == theirs.part.step == step
    assert step == 6


@settings(deadline=None)
@given(plans, image_sets(), st.integers(1, 3))
def test_all_loaders_give_the_same_batches_of_any_shape(values, dataset, num_processes):
    device, values = torch.device("cpu"), values | {"num_samples": len(dataset)}
    where = {"images": dataset.data, "labels": dataset.targets}
    for rank in range(num_processes):
        plan = BatchPlan(**values, process_index=rank, num_processes=num_processes)
        loaders = [
            resident_batches(plan, **where),
            mapped_batches(plan, **where, device=device),
            streaming_batches(plan, dataset=dataset, device=device, num_workers=0),
        ]
        for resident, mapped, streaming in zip(*loaders, strict=True):
            assert_same(resident, mapped)
            assert_same(resident, streaming)
            assert resident.images.shape[1:] == dataset.data.shape[1:]


def assert_same(ours, theirs):
    assert ours.images.dtype == theirs.images.dtype
    assert torch.equal(ours.images, theirs.images)
    assert torch.equal(ours.labels, theirs.labels)
    assert torch.equal(ours.part.indices, theirs.part.indices)
    assert ours.part[1:] == theirs.part[1:]


@pytest.mark.parametrize(
    ("channels", "dtype", "mode"),
    [
        (1, torch.uint8, "L"),
        (3, torch.uint8, "RGB"),
        (2, torch.uint8, None),
        (3, torch.float, None),
    ],
    ids=str,
)
def test_an_image_is_a_picture_where_pil_has_such(channels, dtype, mode):
    images = torch.arange(2 * channels * 5 * 7).view(2, channels, 5, 7).to(dtype)
    given = ImageSet(images.numpy(), torch.tensor([3, 1]).numpy())
    spawned = pickle.loads(pickle.dumps(given))  # noqa: S301 - as a worker that is spawned has it
    for dataset in (given, spawned):
        image, label = dataset[1]
        assert (len(dataset), label, type(label)) == (2, 1, int)
        assert isinstance(image, torch.Tensor) == (mode is None)
        if mode:
            assert (image.mode, image.size) == (mode, (7, 5))
            image = pil_to_tensor(image)
        assert torch.equal(image, images[1])


def test_what_a_transform_makes_of_an_image_is_given(images, labels):
    dataset = ImageSet(images.numpy(), labels.numpy())
    dataset.transform = lambda image: image.size
    assert dataset[4] == ((28, 28), 4)


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
    dataset = ImageSet(images.numpy(), labels.numpy())
    list(streaming_batches(plan, dataset=dataset, device=device, num_workers=0))
    assert torch.equal(torch.get_rng_state(), before)


@given(image_sets(), st.data())
def test_preprocess_is_torchvisions_to_tensor_and_normalize(dataset, data):
    channels, pixels = dataset.data.size(1), dataset.data.clone()
    each = st.lists(st.floats(0.01, 1), min_size=channels, max_size=channels)
    mean, std = data.draw(each), data.draw(each)
    ours = Preprocess(mean=mean, std=std)(dataset.data)
    whole = pixels if pixels.is_floating_point() else pixels.float().div(255)
    theirs = Normalize(mean, std)(whole)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(dataset.data, pixels), "the images at rest must stay as they are"


@pytest.mark.parametrize("in_bytes", [True, False])
def test_preprocess_of_several_channels_is_one_graph(in_bytes):
    images = torch.randint(0, 256, (4, 3, 8, 12)).byte()
    images = images if in_bytes else images.float() / 255
    augment = build_augment(RunConfig(augment=("shift", "rotate")))
    preprocess = Preprocess(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), augment=augment)
    compiled = torch.compile(preprocess.apply, backend="aot_eager", fullgraph=True, dynamic=False)
    for draws in (None, augment.draw(torch.Generator().manual_seed(0), 4)):
        torch.testing.assert_close(compiled(images, draws), preprocess.apply(images, draws))


@pytest.mark.parametrize(
    ("augment", "sha256"), [((), "a568be0f38e86e14"), (("shift",), "ecd977572b78efae")]
)
def test_pixels_for_a_model_are_those_of_earlier_versions(images, augment, sha256):
    plan = BatchPlan(num_samples=23, global_batch_size=23, num_steps=1, seed=0)
    changes = build_augment(RunConfig(augment=augment))
    preprocess = Preprocess(mean=(0.1307,), std=(0.3081,), augment=changes, seed=7)
    pixels = preprocess(images, next(plan.parts()))
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16] == sha256


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
