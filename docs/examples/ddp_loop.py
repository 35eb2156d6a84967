"""Plain PyTorch with DistributedDataParallel: `torchrun --nproc-per-node 2 ddp_loop.py`."""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from mnistbench import record


def teacher_data(num_samples, seed=0):
    """Made-up data: points in 32 dimensions, and on which side of a curved surface they lie."""
    points = torch.randn(num_samples, 32, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(points, (points[:, :16].square().sum(1) > 16).long())


@torch.no_grad()
def loss_and_accuracy(model, points, labels):
    """Mean loss, and share of the samples that `model` gets right."""
    logits = model(points)
    loss = nn.functional.cross_entropy(logits, labels)
    return loss.item(), (logits.argmax(1) == labels).float().mean().item()


def main():
    """Train for some epochs; the main process evaluates after each, while the others wait."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-samples", type=int, default=20_000)
    args = parser.parse_args()

    dist.init_process_group("gloo")
    torch.manual_seed(args.seed)
    data = teacher_data(args.num_samples)
    sampler = DistributedSampler(data, seed=args.seed)
    loader = DataLoader(data, batch_size=64, sampler=sampler)
    val_points, val_labels = teacher_data(2_000, seed=1).tensors
    model = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 2))
    model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)

    with record("mlp-ddp", config=vars(args), seed=args.seed, target={"loss": 0.3}) as run:
        for epoch in range(args.epochs):
            sampler.set_epoch(epoch)
            for points, labels in run.steps(loader):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(points), labels).backward()
                optimizer.step()
            if dist.get_rank() == 0:
                with run.evaluating():
                    loss, accuracy = loss_and_accuracy(model.module, val_points, val_labels)
                run.evaluated(loss=loss, accuracy=accuracy)
                print(f"loss {loss:.3f}, accuracy {accuracy:.3f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
