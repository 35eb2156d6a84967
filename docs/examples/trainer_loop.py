"""Hugging Face's Trainer: a small BERT, from a configuration, that nothing is downloaded for."""

import argparse

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from mnistbench import record


class WordCounts(torch.utils.data.Dataset):
    """Made-up sentences of 16 words, and whether word 1 is in one more often than word 2."""

    def __init__(self, num_samples, seed=0):
        self.words = np.random.default_rng(seed).integers(1, 8, (num_samples, 16))
        self.labels = ((self.words == 1).sum(1) > (self.words == 2).sum(1)).astype(int)

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        return {"input_ids": self.words[index], "labels": self.labels[index]}


def metrics_of(prediction):
    """Accuracy and F1 of what the Trainer hands over."""
    found, labels = prediction.predictions.argmax(1), prediction.label_ids
    both = (found & labels).sum()
    return {"accuracy": (found == labels).mean(), "f1": 2 * both / (found.sum() + labels.sum())}


def main():
    """Train for some epochs; the Trainer evaluates after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-samples", type=int, default=8_000)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(vocab_size=8, intermediate_size=64, **sizes))
    settings = TrainingArguments(
        output_dir="checkpoints",
        num_train_epochs=args.epochs,
        learning_rate=args.lr,
        per_device_train_batch_size=64,
        gradient_accumulation_steps=2,
        per_device_eval_batch_size=500,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=args.seed,
    )
    data = {
        "train_dataset": WordCounts(args.num_samples),
        "eval_dataset": WordCounts(1_000, seed=1),
    }
    with record("word-counts", config=vars(args), seed=args.seed, target={"f1": 0.9}) as run:
        trainer = Trainer(model, settings, compute_metrics=metrics_of, **data)
        trainer.add_callback(run.trainer_callback())
        trainer.train()


if __name__ == "__main__":
    main()
