"""Settings of the process: there while a fast run trains, gone when it is over."""

import pytest
import torch

from mnistbench.engine.plan import Hardware, resolve_plan
from mnistbench.engine.process_settings import applied

TINY = 1e-39  # below the smallest normal number of fp32


def settings():
    kept = bool((torch.full((4,), TINY) * 1.0).count_nonzero())
    return torch.get_float32_matmul_precision(), kept


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ({"loop": "fast"}, ("highest", False)),
        ({"loop": "fast", "matmul_precision": "medium"}, ("medium", False)),
        ({"loop": "fast", "flush_denormals": False}, ("highest", True)),
        ({"loop": "stock"}, ("highest", True)),
    ],
)
def test_a_run_gets_what_it_asks_for_and_leaves_nothing(small_config, values, inside):
    before = settings()
    config = small_config(**values)
    plan = resolve_plan(config, Hardware(device=torch.device("cpu")))
    with applied(config, plan):
        found = settings()
    assert found == inside
    assert settings() == before == ("highest", True)
