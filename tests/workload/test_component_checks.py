"""Own components on made-up data: what works, and the line for each that a run could not train."""

import importlib.util
import re

import pytest
import torch

from mnistbench.schema.component import DataShape, own_fields
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload.component_checks import check_components, check_schedule
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer
from mnistbench.workload.own_components import check_own
from mnistbench.workload.schedules import lr_at
from tests.workload.bad_components import BAD
from tests.workload.own_files import MY_NETS, working_directory

DIGITS, COLOURS = DataShape(1, 28, 28, 10), DataShape(3, 32, 32, 5)
LENGTH = {"num_steps": 100, "steps_per_epoch": 10}


@pytest.fixture
def my_files(tmp_path):
    (tmp_path / "my_nets.py").write_text(MY_NETS)
    with working_directory(tmp_path) as folder:
        yield folder


def findings(config, shape=DIGITS, dtype=torch.float32):
    """What the checks say, in the order of a run, or the line that ends them."""
    for field in own_fields(config):
        check_own(config, field)
    device = torch.device("cpu")
    found = dict(check_components(config, shape, device=device, dtype=dtype))
    return found | {"lr_schedule": check_schedule(config, **LENGTH)}


@pytest.mark.parametrize("shape", [DIGITS, COLOURS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "changes",
    [
        {"model": "my_nets:TinyNet", "model_args": {"width": 3}},
        {"loss": "my_nets.py:gce", "loss_args": {"q": 0.5}},
        {"loss": "torch.nn:CrossEntropyLoss", "loss_args": {"label_smoothing": 0.1}},
        {"loss": "torch.nn.functional:cross_entropy"},
        {"optimizer": "my_nets:Lion", "lr_schedule": "my_nets:wsd", "lr_warmup_steps": 3},
        {"model": "my_nets:TinyNet", "loss": "my_nets:gce", "optimizer": "my_nets:Lion"},
    ],
)
def test_what_works_is_found_to(my_files, changes, shape, dtype):
    found = findings(RunConfig(**changes), shape, dtype)
    assert list(found) == ["model", "logits", "loss", "gradients", "optimizer", "lr_schedule"]
    assert found["logits"] == f"[8, {shape.num_classes}] of images [8, {str([*shape[:3]])[1:]}"


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, one in vars(torch.optim).items()
        if isinstance(one, type) and name not in {"Optimizer", "LBFGS", "SparseAdam", "Muon"}
    ),
)
def test_optimizers_of_torch_by_reference(name):
    config = RunConfig(model="linear", optimizer=f"torch.optim:{name}", lr=0.02)
    assert findings(config)["optimizer"] == f"{name} makes a step"
    optimizer = build_optimizer(build_model(config, DIGITS), config)
    assert type(optimizer) is getattr(torch.optim, name)
    assert {group["lr"] for group in optimizer.param_groups} == {0.02}


def test_networks_of_torchvision_by_reference():
    config = RunConfig(model="torchvision.models:resnet18", model_args={"num_classes": 5})
    assert findings(config, COLOURS)["model"] == "11,179,077 parameters"


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_networks_of_timm_by_reference():
    arguments = {"model_name": "resnet10t", "num_classes": 5}
    config = RunConfig(model="timm:create_model", model_args=arguments)
    assert "logits" in findings(config, COLOURS)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.field}-{bad.said[:40]}")
def test_what_a_run_could_not_train_is_one_line(tmp_path, bad):
    (tmp_path / "mine.py").write_text(bad.code)
    name = re.findall(r"^(?:def|class) (\w+)", bad.code, re.MULTILINE)[-1]
    with working_directory(tmp_path), pytest.raises(InputError) as error:
        findings(RunConfig(**{"model": "linear", bad.field: f"mine.py:{name}"}))
    pattern = ".*".join(map(re.escape, bad.said.replace("lr=…", "lr=\0").split("…")))
    assert re.fullmatch(pattern.replace("\0", "…"), str(error.value)), str(error.value)


@pytest.mark.parametrize(
    "made",
    [
        "@functools.cache\ndef net(shape): return my_nets.TinyNet(shape)",
        "BODY = nn.Conv2d(1, 2, 3)\ndef net(): return nn.Sequential(BODY, nn.Flatten(), BODY)",
    ],
)
def test_weights_for_all_seeds_are_refused(my_files, made):
    (my_files / "kept.py").write_text(f"import my_nets, functools\nfrom torch import nn\n{made}")
    first = build_model(RunConfig(model="kept.py:net"), DIGITS)
    with pytest.raises(InputError, match=r"model: net has its weight .*weight again and again"):
        build_model(RunConfig(model="kept.py:net"), DIGITS)
    assert first.training


def test_layers_without_a_size_get_one(my_files):
    (my_files / "lazy.py").write_text(
        "from torch import nn\n"
        "def net(): return nn.Sequential(nn.Flatten(), nn.LazyBatchNorm1d(), nn.LazyLinear(5))"
    )
    assert findings(RunConfig(model="lazy:net"), COLOURS)["logits"].startswith("[8, 5]")
    net = build_model(RunConfig(model="lazy:net"), COLOURS)
    assert net[1].num_batches_tracked == 0


def test_a_batch_may_have_layers_that_mix_it(my_files):
    """Batch norm is no fault of a loss; nor is a loss that draws numbers."""
    (my_files / "mixed.py").write_text(
        "import torch, my_nets\n"
        "def net(): return torch.nn.Sequential(torch.nn.BatchNorm2d(1), my_nets.nn.Flatten(),\n"
        "    torch.nn.Dropout(), torch.nn.Linear(784, 10))\n"
        "def loss(logits, labels):\n"
        "    return my_nets.gce(logits * torch.rand_like(logits), labels)"
    )
    assert "gradients" in findings(RunConfig(model="mixed:net", loss="mixed:loss"))


def test_a_schedule_counts_from_the_end_of_warm_up(my_files):
    config = RunConfig(lr=0.5, lr_schedule="my_nets:wsd", lr_warmup_steps=20)
    rates = [lr_at(step, config=config, **LENGTH) for step in (0, 20, 83, 84, 92, 99, 500)]
    assert rates == pytest.approx([0.5 / 21, 0.5, 0.5, 0.5, 0.25, 0.5 / 16, 0.5 / 16])


def test_a_loss_of_a_class_is_a_module_of_its_own_each_time(my_files):
    config = RunConfig(loss="torch.nn:CrossEntropyLoss", loss_args={"label_smoothing": 0.1})
    assert build_loss(config) is not build_loss(config)
    logits, labels = torch.randn(4, 10), torch.arange(4)
    built_in = build_loss(RunConfig(loss="label-smoothing"))
    assert build_loss(config)(logits, labels) == built_in(logits, labels)
