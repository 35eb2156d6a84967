"""Runs try the user's own components before they train, and nothing of the trial is left."""

import pytest

from mnistbench.engine.run_seeds import train
from mnistbench.schema.errors import InputError
from tests.workload.own_files import MY_NETS, working_directory

OWN = {
    "model": "my_nets:TinyNet",
    "loss": "my_nets.py:gce",
    "optimizer": "my_nets:Lion",
    "lr_schedule": "my_nets:wsd",
    "lr": 0.001,
}


@pytest.fixture
def my_config(small_config, tmp_path, one_thread):
    (tmp_path / "my_nets.py").write_text(
        f"{MY_NETS}\n"
        "def total(logits, labels):\n    return gce(logits, labels) * len(labels)\n"
        "\nclass Mixed(TinyNet):\n    def forward(self, images):\n"
        "        with torch.autocast('cpu', torch.bfloat16):\n"
        "            return super().forward(images)\n"
        "\ndef late(step, num_steps, steps_per_epoch):\n    return num_steps - step - 2\n"
    )
    with working_directory(tmp_path):
        yield small_config


def figures(config):
    return [[point.loss for point in record.eval_points] for record in train(config)]


def test_a_built_in_run_beside_it_keeps_its_bits(my_config):
    built_in = my_config(model="mlp", dropout=0.5, num_epochs=2)
    own = my_config(**OWN, num_epochs=2, num_seeds=2)
    before, first = figures(built_in), figures(own)
    assert figures(built_in) == before
    assert figures(own) == first
    assert len(first) == 2
    assert first[0] != first[1]


def test_its_import_is_of_what_seeds_share(my_config, tmp_path):
    slow = "import time\nfrom my_nets import TinyNet\ntime.sleep(0.3)"
    (tmp_path / "slow_import.py").write_text(slow)
    first, second = train(my_config(model="slow_import.py:TinyNet", num_seeds=2))
    assert first.phases_s["startup"] >= 0.3
    assert second.phases_s["startup"] == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "my_nets:TinyNett"}, "model: my_nets has no TinyNett; did you mean TinyNet?"),
        ({"model_args": {"wdth": 3}}, "model_args: TinyNet takes no wdth; did you mean width?"),
        ({"model": "my_nets:Mixed"}, "model: computes in bfloat16, not in float32; leave the "),
        ({"loss": "my_nets:total"}, "loss: 8 samples give "),
        ({"optimizer": "torch.optim:LBFGS"}, "optimizer: LBFGS.step needs a closure"),
        ({"lr_schedule": "my_nets:late"}, "lr_schedule: late gives -1 at step 4 of 5; it should"),
    ],
)
@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_what_could_not_train_ends_before_a_run_begins(my_config, tmp_path, values, said, loop):
    with pytest.raises(InputError) as error:
        train(my_config(**OWN | values, loop=loop))
    assert str(error.value).startswith(said)
    assert not list(tmp_path.glob("runs/*"))
