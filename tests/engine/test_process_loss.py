"""What backends say of lost processes is known by its words, and never mixed up with others'.

The texts are those of torch 2.14 and NCCL 2.28, from their sources or by killing and stopping
processes.
"""

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import CppCompileError, InductorError

from mnistbench.engine import process_loss
from mnistbench.engine.memory import is_out_of_memory
from mnistbench.engine.process_loss import (
    any_process_lost,
    end_unanswered,
    exchange_errors,
    is_compiler_error,
    is_process_loss,
    unanswered,
)
from mnistbench.schema.errors import ProcessLostError, RunError

BARRIER = (
    "Rank 2 successfully reached monitoredBarrier, but received errors while waiting for send/recv "
    "from rank 0. Please check rank 0 logs for faulty rank.\n Original exception: \n"
)
NCCL_OUT_OF_MEMORY = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, unhandled cuda error "
    "(run with NCCL_DEBUG=INFO for details), NCCL version 2.28.9\nncclUnhandledCudaError: Call to "
    "CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'"
)
NCCL_REMOTE = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:2540, remote process "
    "exited or there was a network error, NCCL version 2.28.9\nncclRemoteError: A call failed "
    "possibly due to a network error or a remote process exiting prematurely.\nLast error:\n"
    "socketPollConnect: Connect to 10.0.0.2<43343> failed"
)
NCCL_DUPLICATE = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, invalid usage (run with "
    "NCCL_DEBUG=WARN for details), NCCL version 2.28.9\nncclInvalidUsage: This usually reflects "
    "invalid usage of NCCL library.\nLast error:\nDuplicate GPU detected : rank 0 and rank 1 both "
    "on CUDA device 1b000"
)
LOST = [
    (
        RuntimeError("[Rank 0]: Ranks 1 failed to pass monitoredBarrier in 4000 ms"),
        "process 1 did not answer within 4 s, or has gone",
    ),
    (
        RuntimeError("[Rank 0]: Ranks 1, 3 failed to pass monitoredBarrier in 500 ms"),
        "process 1 and process 3 did not answer within 0.5 s",
    ),
    (
        RuntimeError("[Rank 0]: Rank 1 timed out in monitoredBarrier after 4000 ms.\nNo ranks"),
        "process 1 did not answer within 4 s",
    ),
    (
        RuntimeError(f"{BARRIER}[third_party/gloo/gloo/x.cc:78] Timed out waiting 4000ms for recv"),
        "did not answer within 4 s",
    ),
    (
        RuntimeError(
            f"{BARRIER}[third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:51:"
            " Connection reset by peer. This is typically caused by a remote worker hanging"
        ),
        "another process of the run has gone",
    ),
    (torch.distributed.DistBackendError(NCCL_REMOTE), "another process of the run has gone"),
    (torch.distributed.DistBackendError(NCCL_DUPLICATE), "exchange failed: Duplicate GPU detected"),
    (
        torch.distributed.DistBackendError(
            "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, "
            "OpType=ALLREDUCE, NumelIn=1, NumelOut=1, Timeout(ms)=10000) ran for 10020 "
            "milliseconds before timing out."
        ),
        "did not answer within 10.02 s",
    ),
    (
        RuntimeError("NCCL Error 6: remote process exited or there was a network error"),
        "another process of the run has gone",
    ),
    (
        RuntimeError("NCCL communicator was aborted on rank 0."),
        "exchange failed: NCCL communicator was aborted on rank 0.",
    ),
    (torch.distributed.DistStoreError("wait timeout after 1000ms, keys: /x"), "within 1 s"),
    (
        torch.distributed.DistStoreError("Timed out after 2 seconds waiting for clients. 1/2"),
        "did not answer in time",
    ),
    (torch.distributed.DistNetworkError("Socket Timeout"), "did not answer in time"),
    (
        torch.distributed.DistNetworkError(
            "The client socket has timed out after 1000ms while trying to connect to (::1, 2)."
        ),
        "did not answer within 1 s",
    ),
    (
        torch.distributed.DistNetworkError(
            "Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server "
            "shutdown or crash?"
        ),
        "another process of the run has gone",
    ),
    (torch.distributed.DistBackendError(), "exchange failed: DistBackendError"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    RuntimeError("CUDA error: operation not permitted when stream is capturing"),
    RuntimeError(),
    RunError("gloo: as our own words have it"),
    torch.distributed.DistBackendError(NCCL_OUT_OF_MEMORY),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ValueError("gloo"),
]


@pytest.fixture(autouse=True)
def as_one_of_four(monkeypatch):
    """With a store that is gone, so that nobody leaves word."""
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(process_loss, "_lost", [])


@pytest.mark.parametrize(("error", "told"), LOST, ids=lambda value: str(value)[:40])
def test_a_backends_words_for_a_lost_process_become_one_line(error, told):
    assert is_process_loss(error)
    assert not is_compiler_error(error)
    with pytest.raises(ProcessLostError) as raised, exchange_errors():
        raise error
    assert str(raised.value).startswith("process 2 of 4: ")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert any_process_lost()


@pytest.mark.parametrize("error", OTHERS, ids=lambda value: str(value)[:40])
def test_other_errors_are_no_loss_and_stay_as_they_are(error):
    assert not is_process_loss(error)
    with pytest.raises(type(error)) as raised, exchange_errors():
        raise error
    assert raised.value is error
    assert not any_process_lost()


def compilers_errors(inner):
    """The types that torch's compiler raises, about `inner`."""
    chained = CppCompileError(["g++"], f"/home/gloo/x.cpp: {inner}: Connection closed by peer")
    chained.__cause__ = inner
    return [BackendCompilerFailed("inductor", inner, None), InductorError(inner, None), chained]


@pytest.mark.parametrize("number", range(3))
def test_a_compilers_error_is_a_loss_only_where_it_wraps_one(number):
    wrong = compilers_errors(ValueError("no g++ in /home/gloo: NCCL error, Socket Timeout"))[number]
    lost = compilers_errors(torch.distributed.DistBackendError(NCCL_REMOTE))[number]
    for error in (wrong, lost):
        assert is_compiler_error(error)
    assert not is_process_loss(wrong)
    assert is_process_loss(lost)


@pytest.mark.parametrize(("said", "ranks"), [("for recv", "1"), ("for send", "0 and process 1")])
def test_process_0_is_not_named_where_it_has_taken_our_word(monkeypatch, said, ranks):
    monkeypatch.setattr(process_loss, "unresponsive_processes", lambda: [0, 1])
    text = f"{BARRIER}[gloo/transport/tcp/x.cc:78] Timed out waiting 4000ms {said} operation"
    with pytest.raises(ProcessLostError) as raised, exchange_errors():
        raise RuntimeError(text)
    assert f"process 2 of 4: process {ranks} did not answer" in str(raised.value)


def test_what_a_watchdog_says_names_the_silent(monkeypatch):
    monkeypatch.setattr(process_loss, "unresponsive_processes", lambda: [3])
    assert unanswered(12.5).startswith("process 2 of 4: process 3 did not answer within 12.5 s")


def test_a_process_whose_wait_has_no_end_says_so_after_its_record(monkeypatch, caplog):
    told = []
    monkeypatch.setattr(process_loss, "unresponsive_processes", lambda: [3])
    monkeypatch.setattr(process_loss.os, "_exit", told.append)
    end_unanswered(12.5, put_on_record=told.append)
    assert told == [unanswered(12.5), 1]
    assert [record.getMessage() for record in caplog.records] == [f"error: {unanswered(12.5)}"]


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
        NCCL_OUT_OF_MEMORY,
    ],
)
def test_too_little_memory_is_known_by_what_every_library_says(said):
    assert is_out_of_memory(RuntimeError(said))


@pytest.mark.parametrize(
    "said",
    [
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "mat1 and mat2 shapes cannot be multiplied",
        "",
    ],
)
def test_what_can_have_other_causes_is_not_taken_for_too_little_memory(said):
    assert not is_out_of_memory(RuntimeError(said))
