"""``mnistbench.train`` with fp16 on the CPU, which Accelerate and mnistbench leave to GPUs."""

import functools
import sys

import torch
from accelerate import Accelerator

import mnistbench.engine.run_seeds
import mnistbench.train


def allow(patch=setattr, **scaler):
    """Have Accelerate cast and scale as on a GPU, its scaler made with `scaler`.

    Gives the scalers, once there are any.
    """
    plain_init, scalers = Accelerator.__init__, []

    @functools.wraps(plain_init)
    def init(self, *args, **kwargs):
        plain_init(self, *args, **kwargs)
        if self.state.mixed_precision == "fp16":
            self.native_amp, self.scaler = True, torch.amp.GradScaler("cpu", **scaler)
            scalers.append(self.scaler)

    patch(Accelerator, "__init__", init)
    engine = [module for name, module in sys.modules.items() if name.startswith("mnistbench.eng")]
    for module in engine:
        if plain_check := getattr(module, "check_precision", None):
            patch(module, "check_precision", functools.partial(_check, plain_check))
    return scalers


def _check(plain, config):
    return "fp16" if config.mixed_precision == "fp16" else plain(config)


if __name__ == "__main__":
    allow()
    sys.exit(mnistbench.train.main())
