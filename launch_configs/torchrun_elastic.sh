#!/usr/bin/env bash
# When: one to four machines that may come, go or fail. As many as are there train; when one is
# lost or comes back, all processes are started again, up to three times. With
# --checkpoint-every-steps N --resume latest, and an --output-dir of its own that all machines see,
# the run then goes on from its last checkpoint (by another number of processes unless its model has
# batch norm or dropout), else it begins anew.
# The global batch has to divide by every number of processes that can come about.
#
# On each machine, HEAD being the address of one of them that stays:
#   HEAD=10.0.0.1 bash launch_configs/torchrun_elastic.sh --recipe simple-cnn --global-batch-size 4096
#
# From the environment:
#   HEAD       machine that keeps the rendezvous; needed
#   PORT       its port for that, free and open to the others (29400)
#   NODES      fewest:most machines (1:4)
#   PROCESSES  processes on each machine; gpu is one for each GPU, a number with
#              ACCELERATE_USE_CPU=true is for the CPU (gpu)
#   RESTARTS   times that all processes are started again (3)
#   TIMEOUT_S  longest wait for enough machines [seconds] (300)
set -euo pipefail

: "${HEAD:?set HEAD to the address of the machine that keeps the rendezvous}"
TIMEOUT_S=${TIMEOUT_S:-300}

exec torchrun \
    --nnodes "${NODES:-1:4}" \
    --nproc-per-node "${PROCESSES:-gpu}" \
    --max-restarts "${RESTARTS:-3}" \
    --rdzv-backend c10d \
    --rdzv-id "${RUN_ID:-mnistbench}" \
    --rdzv-endpoint "$HEAD:${PORT:-29400}" \
    --rdzv-conf "join_timeout=$TIMEOUT_S,read_timeout=$TIMEOUT_S,last_call_timeout=10" \
    -m mnistbench.train "$@"
