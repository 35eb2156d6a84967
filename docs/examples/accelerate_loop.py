"""Accelerate's own style of loop: gradient accumulation, mixed precision, one process or many."""

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mnistbench import record


def teacher_data(num_samples, seed=0):
    """Made-up data: points in 32 dimensions, and on which side of a curved surface they lie."""
    points = torch.randn(num_samples, 32, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(points, (points[:, :16].square().sum(1) > 16).long())


@torch.no_grad()
def accuracy_of(model, loader, accelerator):
    """Share of the samples, of all processes, that `model` gets right."""
    model.eval()
    right = [
        accelerator.gather_for_metrics(model(points).argmax(1) == labels)
        for points, labels in loader
    ]
    model.train()
    return torch.cat(right).float().mean().item()


def main():
    """Train for some epochs, and read the accuracy after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-samples", type=int, default=20_000)
    args = parser.parse_args()

    accelerator = Accelerator(gradient_accumulation_steps=4, mixed_precision="bf16")
    set_seed(args.seed)
    train_loader = DataLoader(teacher_data(args.num_samples), batch_size=32, shuffle=True)
    val_loader = DataLoader(teacher_data(2_000, seed=1), batch_size=500)
    model = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    model, optimizer, train_loader, val_loader = accelerator.prepare(
        model, optimizer, train_loader, val_loader
    )

    with record("mlp", config=vars(args), seed=args.seed, target={"accuracy": 0.9}) as run:
        for _ in range(args.epochs):
            for points, labels in run.steps(train_loader, batches_per_step=4):
                with accelerator.accumulate(model):
                    loss = nn.functional.cross_entropy(model(points), labels)
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
            with run.evaluating():
                accuracy = accuracy_of(model, val_loader, accelerator)
            run.evaluated(accuracy=accuracy)
            accelerator.print(f"accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
