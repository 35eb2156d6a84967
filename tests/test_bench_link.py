"""The suite over slow links, as far as it can be had without making one."""

from types import SimpleNamespace

import pytest

from bench import bench_link, network_link


def test_it_is_opt_in(monkeypatch):
    monkeypatch.delenv("MNISTBENCH_NETWORK_TESTS", raising=False)
    assert "set MNISTBENCH_NETWORK_TESTS=1" in bench_link.why_not()


def test_links_need_root(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert network_link.why_no_links() == "network namespaces need root on Linux"
    assert network_link.why_no_latency() == "network namespaces need root on Linux"


def test_links_need_iproute(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert network_link.why_no_links() == "ip is not installed (package iproute2)"


def test_a_ring_sends_every_gradient_twice_but_for_ones_own_part():
    record = SimpleNamespace(
        environment={"num_processes": 4},
        num_parameters=1_000_000,
        link=SimpleNamespace(latency_s=0.001, bandwidth_bytes_per_s=3e6),
    )
    assert bench_link.predicted_s(record) == pytest.approx(6 * 0.001 + 2.0)


@pytest.mark.parametrize("budget", ["smoke", "quick", "full"])
def test_every_budget_has_the_process_alone_and_distinct_links(budget, monkeypatch):
    monkeypatch.delenv("MNISTBENCH_NETWORK_TESTS", raising=False)
    cells = bench_link.cells_of(budget)
    assert cells[0] == bench_link.ALONE
    assert len({cell.name for cell in cells}) == len(cells) >= 2
