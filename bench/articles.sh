#!/usr/bin/env bash
# The articles' claims, measured: each recipe over NUM_SEEDS seeds, one after the other, then the
# tables and the picture that the README shows. About 15 minutes on two quiet cores with 5 seeds.
# usage: bench/articles.sh [RUNS_DIR]     (MNISTBENCH_DATA_DIR says where MNIST lies)
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs/articles}
results=bench/results/articles
PATH="$PWD/.venv/bin:$PATH"
for recipe in simple-cnn cnn4-ce cnn4-mse dnn4-ce dnn4-mse dnn5-ce fast-cnn; do
    mnistbench train --recipe "$recipe" --dataset mnist --num-seeds "${NUM_SEEDS:-5}" \
        --target-accuracy 0.97 --output-dir "$runs/$recipe"
done
# "a learning rate of 0.001 stays near 10 %"
mnistbench train --recipe cnn4-mse --lr 0.001 --dataset mnist --num-seeds "${NUM_SEEDS:-5}" \
    --target-accuracy 0.97 --output-dir "$runs/cnn4-mse-lr-0.001"
mkdir -p "$results"
mnistbench report "$runs" --format markdown > "$results/summary.md"
mnistbench report "$runs" --by-epoch --format markdown > "$results/epochs.md"
mnistbench report "$runs" --by-epoch --format json > "$results/epochs.json"
mnistbench report "$runs/simple-cnn" "$runs/cnn4-ce" "$runs/cnn4-mse" \
    --plot "$results/accuracy.png" > /dev/null
