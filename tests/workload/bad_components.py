"""Components that no run could train with, and the line for each."""

from typing import NamedTuple


class Bad(NamedTuple):
    """A file whose last class or function is brought for `field`; ``…`` in `said` is any text."""

    field: str
    code: str
    said: str


def network(forward, init="", name="Net"):
    return (
        "import torch\nfrom torch import nn\n\n"
        f"class {name}(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a = nn.Linear(784, 10)\n"
        f"        {init}\n"
        f"    def forward(self, x): {forward}\n"
    )


def loss(body):
    return f"from torch.nn import functional as F\n\ndef loss(logits, labels):\n    {body}\n"


def optimizer(step, defaults="dict(lr=lr)"):
    return (
        "import torch\n\n"
        "class Opt(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr):\n"
        f"        super().__init__(params, {defaults})\n"
        f"    {step}\n"
    )


def function(result, parameters="model, lr"):
    return f"import torch\n\ndef make({parameters}):\n    return {result}\n"


_SHAPE = "[1, 10]; the data have 10 classes (shape.num_classes, or --model-args num_classes=10)"
_CALLED = "it should be called with (params, lr=…), a function with (model, lr=…)"
_FACTOR = "it should give a finite factor of the learning rate, 0 or more"
_MEAN = "but processes share a batch; return the mean over samples of each one's own loss"

ARGUMENTS = [
    Bad(
        "model",
        "class Net:\n    def __init__(self, width): 0",
        "model: Net needs width; write --model-args width=VALUE",
    ),
    Bad(
        "loss",
        "def loss(logits): return 0",
        "loss: loss takes (logits); it should be called with (logits, labels); a class with "
        "--loss-args",
    ),
    Bad("optimizer", "def opt(): 0", f"optimizer: opt takes (); {_CALLED}"),
    Bad(
        "optimizer",
        "class Opt:\n    def __init__(self, params, rate): 0",
        f"optimizer: Opt takes (params, rate); {_CALLED}",
    ),
    Bad(
        "lr_schedule",
        "class Half:\n    def __init__(self, optimizer, T_max, eta_min): 0",
        "lr_schedule: Half is a class; name a function that gives a factor of the learning rate "
        "for (step, num_steps, steps_per_epoch)",
    ),
    Bad(
        "lr_schedule",
        "def half(step): return 0.5",
        "lr_schedule: half takes (step); it should be called with (step, num_steps, "
        "steps_per_epoch)",
    ),
]

NETWORKS = [
    Bad("model", function("3", ""), "model: make should return a torch.nn.Module; it returns int"),
    Bad("model", "def net():\n    raise OSError('a\\nb')", "model: mine.py:2: OSError: a"),
    Bad(
        "model",
        "from torch import nn\nclass Net(nn.Module): 0",
        "model: Net has no weight to train",
    ),
    Bad(
        "model",
        network("return self.a(x.flatten(1))", init="self.double()"),
        "model: Net has weights of torch.float64; keep them in torch.float32, and set "
        "--mixed-precision for another type of arithmetic",
    ),
    Bad(
        "model",
        network("return self.a(x)"),
        "model: mine.py:9: RuntimeError: mat1 and mat2 shapes cannot be multiplied (224x28 and "
        "784x10)",
    ),
    Bad(
        "model",
        network("return x, x"),
        "model: its forward gives a tuple, not logits [8, 10]; the data have 10 classes …",
    ),
    Bad(
        "model",
        network("return self.a(x.flatten(1))[:, :9]"),
        "model: its forward gives [8, 9], not logits [8, 10]; the data have 10 classes …",
    ),
    Bad(
        "model",
        network("return self.a(x.flatten(1)).squeeze()"),
        f"model: its forward gives [10], not logits {_SHAPE}",
    ),
    Bad(
        "model",
        network("return self.a(x.flatten(1)) / 0"),
        "model: its logits are not finite numbers on made-up images",
    ),
    Bad(
        "model",
        network("return self.a(x.flatten(1))", init="self.b = nn.Linear(3, 3)"),
        "model: the weight b.weight gets no gradient; use it in forward, or set "
        "requires_grad=False",
    ),
    Bad(
        "model",
        network("return self.a(x.flatten(1)).detach()"),
        "model: gives no gradient; use differentiable operations, outside no_grad",
    ),
    Bad(
        "model",
        network("return (self.a(x.flatten(1)) * 0).sqrt()"),
        "model: the gradient of a.weight is not finite on made-up data",
    ),
]

LOSSES = [
    Bad(
        "loss",
        loss("return F.cross_entropy(logits, labels, reduction='none')"),
        "loss: gives [8]; return its mean(), a tensor of one number",
    ),
    Bad(
        "loss",
        loss("return 0.5"),
        "loss: gives a float; return its mean(), a tensor of one number",
    ),
    Bad(
        "loss",
        loss("return F.cross_entropy(logits, labels) / 0"),
        "loss: is inf on made-up data; it should be a finite number",
    ),
    Bad(
        "loss",
        loss("return F.cross_entropy(logits, labels, reduction='sum')"),
        f"loss: 8 samples give … on average, {_MEAN}",
    ),
    Bad(
        "loss",
        loss("return F.cross_entropy(logits, labels, reduction='none').max()"),
        f"loss: 8 samples give … on average, {_MEAN}",
    ),
    Bad(
        "loss",
        loss("return (logits.argmax(1) != labels).float().mean()"),
        "loss: gives no gradient; use differentiable operations, outside no_grad",
    ),
    Bad(
        "loss",
        loss("return (logits * 0).sqrt().mean()"),
        "loss: the gradient of 1.weight is not finite on made-up data",
    ),
    Bad("loss", loss("return dict()[0]"), "loss: mine.py:4: KeyError: 0"),
    Bad(
        "loss",
        network("0", name="Loss"),
        "loss: Loss has a weight of its own (a.weight), which no optimizer would train; make it a "
        "part of the model, or a buffer",
    ),
    Bad("loss", "class Loss: 0", "loss: TypeError: 'Loss' object is not callable"),
]

OPTIMIZERS = [
    Bad(
        "optimizer",
        function("lr"),
        "optimizer: make should give a torch.optim.Optimizer, not float",
    ),
    Bad(
        "optimizer",
        optimizer("def step(self, closure): 0"),
        "optimizer: Opt.step needs a closure, which no training loop has here",
    ),
    Bad(
        "optimizer",
        optimizer("def step(self): 0", defaults="dict(rate=lr)"),
        "optimizer: Opt keeps no lr in its param_groups, where a schedule sets it; pass "
        "dict(lr=lr) to Optimizer.__init__ as defaults",
    ),
    Bad(
        "optimizer",
        function("torch.optim.SGD([next(model.parameters())], lr=lr)"),
        "optimizer: make leaves out the weight 1.bias; set requires_grad=False in the model if it "
        "should stay as it is",
    ),
    Bad(
        "optimizer",
        optimizer("def step(self): 0"),
        "optimizer: Opt.step changes no weight; it has to update them by their grad, not in hooks "
        "of the backward pass",
    ),
    Bad(
        "optimizer",
        optimizer("def step(self): self.param_groups[0]['params'][0].data.div_(0)"),
        "optimizer: a step at lr 0.01 leaves the weight 1.weight not finite",
    ),
    Bad(
        "optimizer",
        optimizer("def step(self): self.momentum"),
        "optimizer: mine.py:6: AttributeError: 'Opt' object has no attribute 'momentum'",
    ),
]

_STEP = "step, num_steps, steps_per_epoch"
SCHEDULES = [
    Bad(
        "lr_schedule",
        function("-1.0", _STEP),
        f"lr_schedule: make gives -1.0 at step 0 of 100; {_FACTOR}",
    ),
    Bad(
        "lr_schedule",
        function("1 / (num_steps - 1 - step)", _STEP),
        "lr_schedule: mine.py:4: ZeroDivisionError: division by zero",
    ),
    Bad(
        "lr_schedule",
        function("'high'", _STEP),
        f"lr_schedule: make gives 'high' at step 0 of 100; {_FACTOR}",
    ),
    Bad(
        "lr_schedule",
        function("float('nan') if step == 70 else 1", _STEP),
        f"lr_schedule: make gives nan at step 70 of 100; {_FACTOR}",
    ),
]

_COMPILED = "is compiled already; leave that out, and use --compile"
COMPILED = [
    Bad(
        "model",
        network("return self.a(x.flatten(1))") + "\ndef made(): return torch.compile(Net())\n",
        f"model: made {_COMPILED}",
    ),
    Bad(
        "loss",
        "import torch\nfrom torch.nn import functional as F\n\n@torch.compile\n"
        "def loss(logits, labels): return F.cross_entropy(logits, labels)\n",
        f"loss: loss {_COMPILED}",
    ),
]

BAD = [*ARGUMENTS, *COMPILED, *NETWORKS, *LOSSES, *OPTIMIZERS, *SCHEDULES]
