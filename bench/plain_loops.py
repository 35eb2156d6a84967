"""The baselines: loops in plain PyTorch, with nothing of ours around the training step.

The articles' loop is article 002's order of work (article 000's also reads ``loss.item()`` each
step): a torchvision data set that turns each image into a normalised float tensor on its own, a
DataLoader, and five lines per step. The bare loop has our resident batches and memory layout and no
Accelerate. Only the order of samples is fixed from outside, so that losses compare. The published
run is recipe ``fast-cnn`` in its authors' own order of work, timed as they time it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms

from mnistbench.schema.config import RunConfig
from mnistbench.workload.batches import BatchPlan, Preprocess, epoch_order, resident_batches
from mnistbench.workload.datasets import load_dataset
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer

LOOSE = 0.05
"""Largest relative difference of losses where rounding alone moves the weights visibly."""


def train_like_the_articles(
    config: RunConfig, *, num_steps: int, device: torch.device
) -> tuple[float, list[float]]:
    """Seconds that `num_steps` steps took, reading data included, and the loss of each step."""
    loaded = load_dataset(config.dataset, config)
    dataset = loaded.train
    dataset.transform = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize(loaded.pixel_mean, loaded.pixel_std),
        ]
    )
    order = epoch_order(len(dataset), seed=config.seed, epoch=0)
    loader = DataLoader(dataset, batch_size=config.global_batch_size, sampler=order.tolist())
    torch.manual_seed(config.seed)
    # before the loader draws a seed of its own
    model = build_model(config, loaded.shape).to(device)
    batches = ((images.to(device), labels.to(device)) for images, labels in loader)
    return _train(config, model, batches, num_steps=num_steps)


def train_bare(
    config: RunConfig, *, num_steps: int, device: torch.device
) -> tuple[float, list[float]]:
    """The same from a set that lies on `device`, channels innermost, without Accelerate."""
    loaded = load_dataset(config.dataset, config)
    plan = BatchPlan(
        num_samples=len(loaded.train),
        global_batch_size=config.global_batch_size or 64,
        num_steps=num_steps,
        seed=config.seed,
    )
    images, labels = loaded.train.data.to(device), loaded.train.targets.to(device)
    preprocess = Preprocess(mean=loaded.pixel_mean, std=loaded.pixel_std)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in resident_batches(plan, images=images, labels=labels):
            yield preprocess(batch.images, batch.part), batch.labels

    torch.manual_seed(config.seed)
    model = build_model(config, loaded.shape).to(device).to(memory_format=torch.channels_last)
    return _train(config, model, batches(), num_steps=num_steps)


def _train(
    config: RunConfig,
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    num_steps: int,
) -> tuple[float, list[float]]:
    loss_fn = build_loss(config)
    # the kernels that torch chooses by itself: the fast loop would ask for fused ones
    optimizer = build_optimizer(model, config.model_copy(update={"loop": "stock"}))
    losses = []
    started = time.perf_counter()
    for step, (images, labels) in enumerate(batches, start=1):
        optimizer.zero_grad()
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step == num_steps:
            break
    values = [loss.item() for loss in losses]  # waits for the device
    return time.perf_counter() - started, values


def published_run(
    config: RunConfig, *, device: torch.device
) -> Callable[[int], tuple[float, float]]:
    """What runs `config` for a seed as notebook 8 of tuomaso/train_mnist_fast does.

    The normalised images lie on `device` in an order that was drawn once, for all seeds. A run
    gives the seconds of its authors' span (model and optimizer built, one epoch or ``max_steps``
    trained, the test set read) and the test accuracy [fraction].
    """
    loaded = load_dataset(config.dataset, config)
    order = epoch_order(len(loaded.train), seed=0, epoch=0)
    batch, eval_batch = config.global_batch_size or 64, config.eval_batch_size

    def batches(images: Tensor, labels: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
        pixels = (images / 255 - loaded.pixel_mean[0]) / loaded.pixel_std[0]
        pairs = (pixels.to(device).split(size), labels.to(device).split(size))
        return list(zip(*pairs, strict=True))

    train = batches(loaded.train.data[order], loaded.train.targets[order], batch)
    train = train[: config.max_steps]
    test = batches(loaded.test.data, loaded.test.targets, eval_batch)
    # starts threads and kernels
    _train_published(config, build_model(config, loaded.shape).to(device), train[:2])

    def run(seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        started = time.perf_counter()
        model = build_model(config, loaded.shape).to(device)
        _train_published(config, model, train)
        with torch.no_grad():
            correct = sum((model(x).argmax(dim=1) == y).sum() for x, y in test)
        accuracy = int(correct) / len(loaded.test)  # waits for the device
        return time.perf_counter() - started, accuracy

    return run


def _train_published(
    config: RunConfig, model: nn.Module, batches: list[tuple[Tensor, Tensor]]
) -> None:
    betas = (config.beta1, config.beta2)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, betas=betas)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=config.lr, total_steps=len(batches), cycle_momentum=False
    )
    for images, labels in batches:
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        schedule.step()


def loss_differences(
    losses: Mapping[str, Sequence[float]], *, base: str, loose: Collection[str] = ()
) -> dict[str, float]:
    """How far the losses of each loop are from those of `base`, relatively and at most.

    To be read over the first steps, while rounding has not yet been multiplied by many updates.

    Args:
        losses: the loss of each step, by the name of the loop.
        base: what all are held against.
        loose: loops that may differ by `LOOSE` instead of rounding alone.

    Raises:
        AssertionError: a loop does other work; one that errs is not to be timed.
    """
    expected = torch.tensor(losses[base])
    for name, curve in losses.items():
        torch.testing.assert_close(
            torch.tensor(curve),
            expected,
            rtol=LOOSE if name in loose else 1e-3,
            atol=1e-4,
            msg=lambda message, name=name: f"{name}: {message}",
        )
    return {
        name: float(((torch.tensor(curve) - expected) / expected).abs().max())
        for name, curve in losses.items()
    }
