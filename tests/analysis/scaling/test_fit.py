"""The fit finds the parameters that figures were made of, and claims no others."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.scaling.fit import Fit
from mnistbench.analysis.scaling.model import Setting, StepTime, predict_step
from mnistbench.schema.record import Link
from tests.made_sweep import LINK, TRUTH

SLOW = Link(latency_s=2e-4, bandwidth_bytes_per_s=1e8)
PLACES = [(1, 64), (1, 256), (2, 64), (2, 256), (4, 64), (4, 256)]


def times(places=PLACES, *, truth=TRUTH, links=(LINK,), split=True, noise=0.0):
    """What `truth` measures in each place, on two cores."""
    draw = random.Random(1)
    found = []
    for count, batch in places:
        for link in links if count > 1 else [None]:
            setting = Setting(
                num_processes=count,
                global_batch_size=batch,
                contention=max(1.0, count / 2),
                link=link,
            )
            parts = [x * draw.lognormvariate(0, noise) for x in predict_step(truth, setting)]
            _, communication_s, wait_s = parts if split else (None, None, None)
            found.append(StepTime(setting, sum(parts), communication_s, wait_s))
    return found


def fit(found):
    return Fit(tuple(found), TRUTH.num_bytes)


PARAMETERS = ("fixed_s", "per_sample_s", "several_s", "call_s", "wait_share")


def assert_near(model, truth, *, rel, names=PARAMETERS):
    for name in names:
        assert getattr(model, name) == pytest.approx(getattr(truth, name), rel=rel), name


def test_figures_without_noise_give_the_parameters_back():
    found = fit(times())
    assert_near(found.model, TRUTH, rel=1e-6)
    assert (found.model.link_share, found.model.only_local_batch, found.assumptions) == (
        1,
        None,
        [],
    )
    assert found.residual == pytest.approx(0, abs=1e-9)
    assert found.num_free == 2 + 4 * 3 - 5


def test_noise_moves_parameters_by_little():
    assert_near(fit(times(noise=0.02)).model, TRUTH, rel=0.15)


@given(
    st.floats(1e-6, 1e-1),
    st.floats(1e-8, 1e-3),
    st.floats(0, 1e-2),
    st.floats(0, 1e-2),
    st.floats(0, 0.5),
)
def test_any_model_is_found_again(fixed_s, per_sample_s, several_s, call_s, wait_share):
    truth = replace(
        TRUTH,
        fixed_s=fixed_s,
        per_sample_s=per_sample_s,
        several_s=several_s,
        call_s=call_s,
        wait_share=wait_share,
    )
    model = fit(times(truth=truth)).model
    for time in times(truth=truth):
        assert predict_step(model, time.setting).step_s == pytest.approx(time.step_s, rel=1e-4)


def test_one_local_batch_is_known_at_itself_only_and_its_mend_is_told():
    found = fit(times([(1, 64), (2, 128), (4, 256)]))
    assert found.model.only_local_batch == 64
    assert any("--num-threads 1 or a second --global-batch-size" in s for s in found.assumptions)
    assert predict_step(found.model, Setting(num_processes=1, global_batch_size=32)) is None


def test_one_batch_on_two_process_counts_cannot_tell_what_being_several_costs():
    found = fit(times([(1, 64), (2, 64)]))
    assert found.model.several_s == 0
    assert "a process is taken to compute as fast beside others as alone" in found.assumptions


def test_several_links_tell_how_much_of_a_link_is_seen():
    truth = replace(TRUTH, link_share=0.6)
    model = fit(times(truth=truth, links=(LINK, SLOW))).model
    assert model.link_share == pytest.approx(0.6, rel=1e-3)
    assert model.call_s == pytest.approx(truth.call_s, rel=1e-3)


def test_more_processes_over_one_link_do_not_tell_its_share():
    # on shared cores the call grows with them as well, and would take the link's place
    assert fit(times(noise=0.02)).model.link_share == 1


def test_an_exchange_below_its_link_is_a_hidden_part_of_it():
    truth = replace(TRUTH, link_share=0.5, call_s=0.0)
    model = fit(times(truth=truth)).model
    assert model.call_s == 0
    assert model.link_share == pytest.approx(0.5)


def test_a_link_found_slower_takes_its_time_from_the_call_and_shows_with_more_processes():
    found = fit(times())
    slower = found.solve(found.measured, link_factor=1.5)
    two, many = (
        Setting(num_processes=n, global_batch_size=256, link=LINK, contention=n / 2)
        for n in (2, 64)
    )
    assert slower.call_s < found.model.call_s
    assert predict_step(slower, two).step_s == pytest.approx(
        predict_step(found.model, two).step_s, rel=0.02
    )
    far = replace(many, contention=1.0)
    assert predict_step(slower, far).step_s > 1.2 * predict_step(found.model, far).step_s


def test_without_a_link_an_exchange_is_not_known_and_computing_is():
    unlinked = [t._replace(setting=replace(t.setting, link=None)) for t in times()]
    found = fit(unlinked)
    assert not found.exchange_known
    assert any("what an exchange costs is not known" in said for said in found.assumptions)
    assert_near(found.model, TRUTH, rel=1e-6, names=("fixed_s", "per_sample_s", "several_s"))
    assert predict_step(found.model, unlinked[-1].setting) is None
    assert predict_step(found.model, unlinked[0].setting) is not None


def test_one_process_alone_says_nothing_of_exchanges():
    found = fit(times([(1, 64), (1, 256)]))
    assert not found.exchange_known
    assert found.assumptions == ["fitted on one process alone: what an exchange costs is not known"]


def test_steps_that_were_not_split_still_tell_the_call_beside_one_process_alone():
    truth = replace(TRUTH, wait_share=0.0, several_s=0.0)
    found = fit(times(truth=truth, split=False))
    assert_near(found.model, truth, rel=1e-6, names=("fixed_s", "per_sample_s", "call_s"))
    assert found.assumptions == [
        "a step's parts were not measured, and waiting counts as computing"
    ]


def test_unsplit_steps_over_an_unknown_link_do_not_spoil_computing():
    unlinked = [t._replace(setting=replace(t.setting, link=None)) for t in times(split=False)[:3]]
    found = fit(unlinked)
    assert_near(found.model, TRUTH, rel=1e-6, names=("fixed_s", "per_sample_s"))
    assert fit(unlinked[2:]).used == []


def test_a_slowed_link_is_predicted_from_fast_ones():
    fast = [LINK, Link(latency_s=6e-5, bandwidth_bytes_per_s=5e8)]
    model = fit(times(links=fast, noise=0.02)).model
    (slowed,) = times([(2, 64)], links=[SLOW])
    assert predict_step(model, slowed.setting).step_s == pytest.approx(slowed.step_s, rel=0.05)
