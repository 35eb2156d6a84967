"""MNIST in the shape of the PyTorch project's example: Adadelta, and a rate that falls.

The test set is read after each epoch, as that example does.
"""

import argparse
import os

import torch
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from mnistbench import record


def build_network():
    """Two convolutions, one pooling, two linear layers, dropout before either."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten()),
        *(nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)),
    )


@torch.no_grad()
def test(model, loader, device):
    """Mean loss and accuracy over all of `loader`."""
    model.eval()
    loss, correct, count = 0.0, 0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        logits = model(images)
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        correct += (logits.argmax(1) == labels).sum().item()
        count += len(labels)
    model.train()
    return loss / count, correct / count


def main():
    """Train, and read the test set after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--lr", type=float, default=1.0)
    parser.add_argument("--gamma", type=float, default=0.7)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--test-batch-size", type=int, default=1000)
    parser.add_argument("--max-samples", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = os.environ.get("MNISTBENCH_DATA_DIR", "data")
    scale = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.1307, 0.3081)])
    train_set = datasets.MNIST(data, train=True, download=True, transform=scale)
    test_set = datasets.MNIST(data, train=False, transform=scale)
    train_set = torch.utils.data.Subset(train_set, range(args.max_samples))
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=args.test_batch_size)
    model = build_network().to(device)
    optimizer = optim.Adadelta(model.parameters(), lr=args.lr)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=args.gamma)

    with record("mnist", config=vars(args), seed=args.seed, target={"accuracy": 0.99}) as run:
        for _ in range(args.epochs):
            for images, labels in run.steps(train_loader):
                images, labels = images.to(device), labels.to(device)
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
            with run.evaluating():
                loss, accuracy = test(model, test_loader, device)
            run.evaluated(split="test", loss=loss, accuracy=accuracy)
            print(f"loss {loss:.4f}, accuracy {accuracy:.4f}")
            scheduler.step()


if __name__ == "__main__":
    main()
