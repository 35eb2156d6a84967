"""scikit-learn's `partial_fit` on its own handwritten digits; there is no torch in this process."""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.utils import gen_batches

from mnistbench import record


def main():
    """Train for some epochs, and read the accuracy after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--alpha", type=float, default=0.0001)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    images, labels, val_images, val_labels = (
        images[:1400],
        labels[:1400],
        images[1400:],
        labels[1400:],
    )
    model = SGDClassifier(loss="log_loss", alpha=args.alpha, random_state=args.seed)
    rng = np.random.default_rng(args.seed)

    with record("digits-sgd", config=vars(args), seed=args.seed, target={"accuracy": 0.88}) as run:
        for _ in range(args.epochs):
            order = rng.permutation(len(labels))
            for rows in gen_batches(len(labels), 32):
                batch = order[rows]
                with run.step(num_samples=len(batch)):
                    model.partial_fit(images[batch], labels[batch], classes=range(10))
            with run.evaluating():
                accuracy = model.score(val_images, val_labels)
            run.evaluated(accuracy=accuracy)
            print(f"accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
