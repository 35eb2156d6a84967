"""The stock step and its warm-up."""

import copy

import pytest
import torch

from tests.engine.built import batches, built_run


@pytest.fixture
def make_run(small_config):
    """A run that is ready to train."""
    return lambda **values: built_run(small_config(**values))


def state(run):
    step = run.parts.step
    return {
        "model": copy.deepcopy(step.model.state_dict()),
        "optimizer": copy.deepcopy(step.optimizer.state_dict()),
        "random": torch.get_rng_state(),
    }


def assert_same(before, after):
    assert torch.equal(before["random"], after["random"])
    assert str(before["optimizer"]) == str(after["optimizer"])
    assert before["model"].keys() == after["model"].keys()
    for name, value in before["model"].items():
        assert torch.equal(value, after["model"][name]), name


@pytest.mark.slow
@pytest.mark.parametrize("model", ["resnet-mini", "example-cnn"])  # batch norm; dropout
def test_warming_up_leaves_no_trace(make_run, model):
    run = make_run(model=model)
    before = state(run)
    shards = run.context.batch_plan.warmup_shards()
    with run.parts.step.unchanged():
        run.parts.step.rehearse(shards)
    assert_same(before, state(run))
    assert all(parameter.grad is None for parameter in run.parts.step.model.parameters())


def test_a_step_is_torchs_own_update(make_run, one_thread):
    run = make_run(model="simple-cnn", optimizer="sgd", momentum=0.5, batch_last=False)
    twin = copy.deepcopy(run.parts.evaluator.model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.5)
    for batch in batches(run):
        (loss,) = run.parts.step.train_steps([batch], lrs=[0.05])
        images = run.parts.step.objective.preprocess(batch.images, batch.part)
        expected = torch.nn.functional.cross_entropy(twin(images), batch.labels)
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        assert torch.equal(loss, expected.detach())
    for ours, theirs in zip(run.parts.evaluator.model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_an_evaluation_is_the_plain_count_and_mean(make_run):
    run = make_run(model="linear", eval_batch_size=7)
    images, labels = run.context.data.val
    found = run.parts.evaluator(images, labels, train_s=1.5, train_losses=torch.tensor([1.0, 3.0]))
    with torch.no_grad():
        logits = run.parts.evaluator.logits(images)
    assert found.accuracy == (logits.argmax(1) == labels).sum().item() / len(labels)
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert found.loss == pytest.approx(expected, rel=1e-5)
    assert (found.train_s, found.train_loss) == (1.5, 2.0)


def test_an_evaluation_turns_dropout_off_and_training_back_on(make_run):
    run = make_run(model="example-cnn")
    images, labels = run.context.data.val
    first, second = (
        run.parts.evaluator(images, labels, train_s=0.0, train_losses=torch.zeros(0))
        for _ in range(2)
    )
    assert first == second
    assert run.parts.evaluator.model.training
