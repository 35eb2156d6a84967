import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mnistbench.recorder.op_counter import Operation, count_ops, roofline_s
from mnistbench.schema.config import RunConfig
from mnistbench.schema.insight import Ceilings
from mnistbench.schema.names import ModelName
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.models import build_model

CEILINGS = Ceilings(matmul_flops_per_s=1e9, copy_bytes_per_s=1e8, cached_copy_bytes_per_s=1e9)


def test_a_product_counts_two_operations_a_pair_and_its_three_matrices():
    a, b = torch.zeros(3, 5), torch.zeros(5, 7)
    [product] = count_ops(lambda: a @ b)
    assert product == Operation("aten.mm", 2 * 3 * 5 * 7, 4 * (15 + 35 + 21))


def test_views_move_nothing_and_what_is_repeated_counts_once():
    a = torch.zeros(4, 6)
    assert count_ops(lambda: a.t().reshape(6, 4)[1:]) == []
    [copied] = count_ops(lambda: torch.zeros(1).expand(100).clone())[1:]
    assert copied.traffic_bytes == 4 + 400


def test_a_change_in_place_is_read_and_written():
    a = torch.zeros(10)
    [changed] = count_ops(lambda: a.add_(1))
    assert changed.traffic_bytes == 80


@pytest.mark.parametrize("model", ModelName.__args__)
def test_operations_of_a_step_are_torchs_own_count(model):
    network = build_model(RunConfig(model=model), DIGIT_SHAPE)
    images = torch.zeros(4, *DIGIT_SHAPE[:3])

    def step():
        network(images).sum().backward()

    ours = sum(operation.flops for operation in count_ops(step))
    with FlopCounterMode(display=False) as counter:
        step()
    assert ours == counter.get_total_flops() > 0


@given(flops=st.integers(0, 10**12), traffic=st.integers(0, 10**9))
def test_an_operator_is_bound_by_the_longer_of_the_two(flops, traffic):
    arithmetic_s, traffic_s = roofline_s([Operation("x", flops, traffic)], CEILINGS)
    bandwidth = 1e9 if traffic < 2**22 else 1e8
    assert max(arithmetic_s, traffic_s) == pytest.approx(max(flops / 1e9, traffic / bandwidth))
    assert min(arithmetic_s, traffic_s) == 0


def test_times_of_several_operators_add_up():
    some = [Operation("matmul", 10**9, 10), Operation("copy", 0, 10**8)]
    assert roofline_s(some, CEILINGS) == pytest.approx((1.0, 1.0))


def test_optimizers_and_losses_of_lists_are_counted():
    weight = nn.Parameter(torch.ones(100))
    weight.grad = torch.ones(100)
    optimizer = torch.optim.SGD([weight], lr=0.1, fused=True)
    traffic = {one.name: one.traffic_bytes for one in count_ops(optimizer.step)}
    assert traffic["aten._fused_sgd_"] >= 800
