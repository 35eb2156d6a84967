"""Sums in one fixed order: bits that do not depend on who adds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.engine.gradient_allreduce import GradientAllReduce, pairwise_sum


@given(st.lists(st.integers(), min_size=1, max_size=40))
def test_it_is_the_sum(numbers):
    assert pairwise_sum(numbers, lambda a, b: a + b) == sum(numbers)


def test_it_adds_as_a_tree():
    shown = pairwise_sum("abcdefg", lambda a, b: f"({a}{b})")
    assert shown == "(((ab)(cd))((ef)g))"


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=16, max_size=16), st.sampled_from([2, 4, 8])
)
def test_sums_of_sums_have_the_same_bits(numbers, processes):
    terms = [torch.tensor(number, dtype=torch.float32) for number in numbers]
    each = 16 // processes
    shares = [terms[start : start + each] for start in range(0, 16, each)]
    sums = [pairwise_sum(share, torch.add) for share in shares]
    assert torch.equal(pairwise_sum(sums, torch.add), pairwise_sum(terms, torch.add))


def test_no_terms_have_no_sum():
    with pytest.raises(IndexError):
        pairwise_sum([], torch.add)


def test_a_process_alone_keeps_its_gradients():
    grads = [torch.ones(2, 3)]
    assert GradientAllReduce(1)(grads) is grads
