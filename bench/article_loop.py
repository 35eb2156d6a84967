"""The baseline: the training loop of the two articles, without anything of ours around it.

Article 002's order of work (article 000's also reads ``loss.item()`` each step): a torchvision
data set that turns each image into a normalised float tensor on its own, a DataLoader, and five
lines per step. Only the order of samples is fixed from outside, so that losses compare.
"""

from __future__ import annotations

import time

import torch
from torch.utils.data import DataLoader
from torchvision import transforms

from mnistbench.schema.config import RunConfig
from mnistbench.workload.batches import epoch_order
from mnistbench.workload.datasets import load_dataset
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model


def train_like_the_articles(config: RunConfig, *, num_steps: int) -> tuple[float, list[float]]:
    """Seconds that `num_steps` steps took, reading data included, and the loss of each step."""
    loaded = load_dataset(config.dataset, config)
    dataset = loaded.train
    dataset.transform = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize((loaded.pixel_mean,), (loaded.pixel_std,)),
        ]
    )
    order = epoch_order(len(dataset), seed=config.seed, epoch=0)
    loader = DataLoader(dataset, batch_size=config.global_batch_size, sampler=order.tolist())
    torch.manual_seed(config.seed)
    model = build_model(config)
    loss_fn = build_loss(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum)
    losses = []
    started = time.perf_counter()
    for step, (images, labels) in enumerate(loader, start=1):
        optimizer.zero_grad()
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step == num_steps:
            break
    elapsed_s = time.perf_counter() - started
    return elapsed_s, [loss.item() for loss in losses]
