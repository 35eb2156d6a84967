"""Networks, losses and optimizers as a user brings them, each with something that others lack."""

from collections import deque

import torch
from torch import nn
from torch.nn import functional


class Matrices(nn.Module):
    """Two matrices and no bias, which every optimizer takes."""

    def __init__(self, shape):
        super().__init__()
        self.first = nn.Linear(shape.channels * shape.height * shape.width, 8, bias=False)
        self.last = nn.Linear(8, shape.num_classes, bias=False)

    def forward(self, images):
        return self.last(self.first(images.flatten(1)).relu())


class Counting(Matrices):
    """Counts its calls, and computes otherwise in each; drops by a function, not a layer."""

    def __init__(self, shape):
        super().__init__(shape)
        self.calls = 0

    def forward(self, images):
        self.calls += self.training
        return super().forward(functional.dropout(images, 0.1, self.training)) * 0.99**self.calls


class Viewing(nn.Module):
    """Views what a convolution gives, which only contiguous features can be."""

    def __init__(self, shape):
        super().__init__()
        self.conv = nn.Conv2d(shape.channels, 2, 3)
        self.last = nn.LazyLinear(shape.num_classes)

    def forward(self, images):
        features = self.conv(images)
        return self.last(features.view(len(features), -1))


class NotCompiled(Matrices):
    """Raises where the compiler looks at it."""

    def forward(self, images):
        if torch.compiler.is_compiling():
            raise ValueError("not to be compiled")
        return super().forward(images)


class Annealed(nn.Module):
    """A loss that changes with its own count of steps, and keeps a mean in a buffer."""

    def __init__(self):
        super().__init__()
        self.steps = 0
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, logits, labels):
        loss = functional.cross_entropy(logits, labels)
        if self.training:
            self.steps += 1
            self.mean.lerp_(loss.detach(), 0.1)
        return loss * (1 + 1 / self.steps if self.steps else 1)


class Falling:
    """A loss that is no module, and counts."""

    def __init__(self):
        self.steps = 0

    def __call__(self, logits, labels):
        self.steps += 1
        return functional.cross_entropy(logits, labels) * (1 + 1 / self.steps)


class Tracked(nn.Module):
    """A loss that keeps means in tensors alone, of which one is no buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.square = torch.zeros(())

    def forward(self, logits, labels):
        loss = functional.cross_entropy(logits, labels)
        self.mean.lerp_(loss.detach(), 0.1)
        self.square.lerp_(loss.detach().square(), 0.1)
        return loss * (1 + self.mean)


class Rebinding(Tracked):
    """Makes a new tensor in each step."""

    def forward(self, logits, labels):
        loss = super().forward(logits, labels)
        self.square = self.square * 0.5
        return loss + self.square


COUNT = 0


def counted_loss(logits, labels):
    """Keeps its count in a variable of the module."""
    global COUNT  # noqa: PLW0603 as users do
    COUNT += 1
    return functional.cross_entropy(logits, labels) * (1 + 1 / COUNT)


def read_loss(logits, labels):
    """Reads its value on the host."""
    loss = functional.cross_entropy(logits, labels)
    return loss * 0.5 if loss.item() > 1 else loss


class Counted(torch.optim.Optimizer):
    """Momentum whose rate falls by counts on itself, in groups, by weight, and by recent norms."""

    def __init__(self, params, lr=0.1, power=0.5):
        super().__init__(params, {"lr": lr, "power": power, "used": 0})
        self.num_steps, self.norms = 0, deque(maxlen=3)

    @torch.no_grad()
    def step(self, closure=None):
        self.num_steps += 1
        for group in self.param_groups:
            group["used"] += 1
            for weight in group["params"]:
                state = self.state[weight]
                state["uses"] = state.get("uses", 0) + 1
                mean = state.setdefault("mean", torch.zeros_like(weight)).lerp_(weight.grad, 0.5)
                self.norms.append(mean.norm().item())
                fall = self.num_steps * group["used"] * state["uses"]
                rate = group["lr"] / (1 + max(self.norms)) / fall ** group["power"]
                weight.sub_(mean, alpha=rate)


def two_rates(model, lr):
    """The first weight at a tenth of the rate of the others."""
    first, *rest = model.parameters()
    return torch.optim.SGD([{"params": [first], "lr": lr / 10}, {"params": rest}], lr=lr)


class Nested(torch.optim.SGD):
    """Has another optimizer inside, of which its state_dict knows nothing."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.inner = torch.optim.Adam(self.param_groups, lr)

    def step(self, closure=None):
        self.inner.step()


class Holding(torch.optim.SGD):
    """Has something in its state that is neither a number nor a tensor."""

    def step(self, closure=None):
        super().step(closure)
        self.state[self.param_groups[0]["params"][0]]["held"] = object()


class Noisy(torch.optim.SGD):
    """Adds noise, which processes draw for themselves."""

    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad += torch.randn_like(weight)
        super().step(closure)


class Watching(torch.optim.SGD):
    """Scales each step by what it saw a layer get."""

    def __init__(self, model, lr):
        super().__init__(model.parameters(), lr)
        self.seen = 1.0
        model.first.register_forward_pre_hook(self.see)

    def see(self, _, given):
        self.seen = 0.9 * self.seen + 0.1 * given[0].detach().square().mean().sqrt()

    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad /= self.seen
        super().step(closure)


def watching(model, lr):
    return Watching(model, lr)
