"""``mnistbench.train`` whose compiler fails in one of several processes.

The variable `PROCESS` is that process's number, and `FAULT` how it fails: ``call`` in
``torch.compile`` itself, ``backend`` inside torch's compiler, ``exit`` by the process's death.
"""

import os
import sys

import torch

import mnistbench.train

PROCESS = "MNISTBENCH_TESTS_FAILS_IN"
FAULT = "MNISTBENCH_TESTS_FAILS_BY"
SAYS = "no compiler in this process"


def fail(*_, **__):
    raise RuntimeError(f"{SAYS}\nand more that nobody needs")


def die(*_, **__):
    os._exit(9)


def break_compiler(fault, patch=setattr):
    """Have what compiles in this process fail by `fault`."""
    if fault == "backend":
        from torch._inductor import compile_fx

        patch(compile_fx, "compile_fx", fail)
    else:
        patch(torch, "compile", {"call": fail, "exit": die}[fault])


if __name__ == "__main__":
    if os.environ["RANK"] == os.environ[PROCESS]:
        break_compiler(os.environ[FAULT])
    sys.exit(mnistbench.train.main())
