"""Lightning: a small network, validated after each epoch."""

import argparse

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mnistbench import record


def teacher_data(num_samples, seed=0):
    """Made-up data: points in 32 dimensions, and on which side of a curved surface they lie."""
    points = torch.randn(num_samples, 32, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(points, (points[:, :16].square().sum(1) > 16).long())


class Classifier(lightning.LightningModule):
    """Two layers."""

    def __init__(self, lr):
        super().__init__()
        self.lr = lr
        self.layers = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 2))

    def training_step(self, batch, _):
        points, labels = batch
        loss = nn.functional.cross_entropy(self.layers(points), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        points, labels = batch
        logits = self.layers(points)
        self.log("val_loss", nn.functional.cross_entropy(logits, labels))
        self.log("val_accuracy", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def main():
    """Train for some epochs; Lightning validates after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-samples", type=int, default=20_000)
    args = parser.parse_args()

    lightning.seed_everything(args.seed)
    train_loader = DataLoader(teacher_data(args.num_samples), batch_size=64, shuffle=True)
    val_loader = DataLoader(teacher_data(2_000, seed=1), batch_size=500)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    with record(
        "mlp-lightning", config=vars(args), seed=args.seed, target={"accuracy": 0.9}
    ) as run:
        trainer = lightning.Trainer(
            max_epochs=args.epochs,
            accumulate_grad_batches=2,
            enable_checkpointing=False,
            callbacks=[run.lightning_callback()],
            **quiet,
        )
        trainer.fit(Classifier(args.lr), train_loader, val_loader)


if __name__ == "__main__":
    main()
