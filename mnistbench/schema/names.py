"""The names a user may type, as literal types: help and validation need no torch.

A test keeps each of them equal to the keys of its registry in ``mnistbench.workload``.
"""

from __future__ import annotations

from typing import Literal

DatasetName = Literal["mnist", "fashion-mnist", "kmnist", "qmnist", "emnist-digits", "synthetic"]

DatasetChoice = Literal["auto", DatasetName]

ModelName = Literal[
    "cnn4",
    "simple-cnn",
    "dnn4",
    "dnn5",
    "cnn2",
    "cnn",
    "lenet5",
    "resnet-mini",
    "mlp",
    "linear",
    "example-cnn",
    "fast-cnn",
    "speedrun-cnn",
]

LossName = Literal[
    "cross-entropy",
    "label-smoothing",
    "mse",
    "brier",
    "mae",
    "smooth-l1",
    "bce",
    "focal",
    "poly1",
    "multi-margin",
    "squared-hinge",
    "kl",
]

OptimizerName = Literal["sgd", "adam", "adamw", "adadelta", "rmsprop", "muon"]

ScheduleName = Literal["constant", "step", "exponential", "cosine", "linear", "one-cycle"]

AugmentName = Literal["shift", "rotate", "elastic"]

RecipeName = Literal[
    "cnn4-mse",
    "cnn4-ce",
    "dnn4-mse",
    "dnn4-ce",
    "dnn5-ce",
    "simple-cnn",
    "example-cnn",
    "fast-cnn",
    "speedrun-99",
    "speedrun-99.5",
]

ProfileKind = Literal["torch", "memory", "sampling", "nvtx"]

TrackerName = Literal[
    "tensorboard", "wandb", "trackio", "comet_ml", "aim", "mlflow", "clearml", "dvclive", "swanlab"
]
"""Accelerate's names for the trackers that it knows."""
