"""Machines of a run find each other, or each is told what keeps them apart."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mnistbench.launch.roll_call import answer_roll, call_roll
from mnistbench.schema.errors import InputError
from tests.processes import free_port


@pytest.fixture
def port():
    return free_port()


def meet(port, *ranks, num_machines, timeout_s=20.0):
    """What each of these machines is told: None, or the line."""

    def machine(rank):
        try:
            if rank == 0:
                call_roll(port, num_machines=num_machines, timeout_s=timeout_s)
            else:
                answer_roll(
                    "localhost",
                    port,
                    machine_rank=rank,
                    num_machines=num_machines,
                    timeout_s=timeout_s,
                )
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(ranks)) as pool:
        return dict(zip(ranks, pool.map(machine, ranks), strict=True))


def test_three_machines_meet_in_any_order(port):
    assert meet(port, 2, 1, 0, num_machines=3) == {0: None, 1: None, 2: None}


def test_the_port_is_free_again_at_once(port):
    assert meet(port, 0, 1, num_machines=2) == {0: None, 1: None}
    assert meet(port, 1, 0, num_machines=2) == {0: None, 1: None}


def test_a_missing_machine_is_named_to_all(port):
    told = meet(port, 0, 1, 3, num_machines=5, timeout_s=0.7)
    assert told[0] == told[1] == told[3]
    assert told[0].startswith("machine_rank: 2, 4 did not call machine 0 within 0.7 s")


def test_no_machine_0_ends_in_time(port):
    told = meet(port, 1, num_machines=2, timeout_s=0.5)
    assert told[1].startswith(f"main_process_ip: localhost does not answer at port {port} (")


def test_an_unknown_name_is_said():
    with pytest.raises(InputError, match=r"no-such-host\.invalid is not a name or address known"):
        answer_roll("no-such-host.invalid", 1, machine_rank=1, num_machines=2, timeout_s=0.1)


def test_a_busy_port_is_said(port):
    with socket.create_server(("", port)), pytest.raises(InputError, match=f"{port} is busy on"):
        call_roll(port, num_machines=2, timeout_s=1)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 5000])
def test_another_program_at_the_port_is_no_machine_0(port, answer):
    with socket.create_server(("", port)) as server:

        def serve():
            caller = server.accept()[0]
            caller.recv(1000)
            caller.sendall(answer)
            caller.close()

        thread = threading.Thread(target=serve)
        thread.start()
        told = meet(port, 1, num_machines=2)
        thread.join()
    assert "is not `mnistbench doctor` of machine 0" in told[1]


@pytest.mark.slow
def test_a_silent_program_at_the_port_is_left_in_time(port):
    with socket.create_server(("", port)):
        told = meet(port, 1, num_machines=2, timeout_s=0.3)
    assert "is not `mnistbench doctor` of machine 0" in told[1]


@pytest.mark.slow
def test_strangers_do_not_count_and_do_not_disturb(port):
    def call(words):
        for _ in range(100):
            try:
                with socket.create_connection(("localhost", port)) as connection:
                    connection.sendall(words)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(100)
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return

    with ThreadPoolExecutor(4) as pool:
        for words in (b"GET / HTTP/1.0\r\n\r\n", b"", b"\xff" * 3000):
            pool.submit(call, words)
        assert meet(port, 0, 1, num_machines=2) == {0: None, 1: None}


@pytest.mark.slow
def test_machines_that_disagree_on_their_number_are_told(port):
    with ThreadPoolExecutor(2) as pool:
        zero = pool.submit(meet, port, 0, num_machines=2, timeout_s=1.0)
        one = pool.submit(meet, port, 1, num_machines=3, timeout_s=1.0)
    assert one.result()[1].startswith("machine_rank: machine 0 knows 0 to 1, not '1/3'")
    assert zero.result()[0].startswith("machine_rank: 1 did not call")
