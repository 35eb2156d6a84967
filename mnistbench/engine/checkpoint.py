"""A run's state as files, and back into a run that was built and warmed up anew.

Tensors are safetensors and the rest is JSON, so that reading a checkpoint runs nothing in it.
Values are put where the new run has its own, in place: a compiled or captured step reads there.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

import safetensors.torch
import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from torch import Tensor, nn

from mnistbench.engine.own_state import kept, optimizer_state, put_back, unpack
from mnistbench.engine.run import BuiltParts, Run
from mnistbench.engine.unchanged import device_rng_state, set_device_rng_state
from mnistbench.recorder.code_identity import running_code
from mnistbench.recorder.redaction import values_redacted
from mnistbench.schema.checkpoint import CheckpointState, SavedRun
from mnistbench.schema.errors import InputError, first_line
from mnistbench.schema.provenance import OWN_CODE, sources_text
from mnistbench.schema.record import Fact, Interruption, StopSignal
from mnistbench.schema.training_fields import BOOKKEEPING

Named = Mapping[str, Tensor]
_OWN = "own."


def checkpoint_files(run: Run, *, cause: int = 0) -> dict[str, bytes]:
    """All files of a checkpoint of `run` as it stands, on the main process; all must call this.

    `cause` is the number of the signal that the run ends at, if it does.
    """
    processes: list[bytes] = gather_object([_packed(_of_process(run))])
    if not run.context.accelerator.is_main_process:
        return {}
    everyone = {
        f"{index}.{name}": tensor
        for index, packed in enumerate(processes)
        for name, tensor in safetensors.torch.load(packed).items()
    }
    return {
        "model.safetensors": _packed(run.parts.model.state_dict()),
        "optimizer.safetensors": _packed(_of_optimizer(run.parts)),
        "processes.safetensors": _packed(everyone),
        "state.json": _state(run, cause).model_dump_json(indent=1).encode(),
    }


def restore(run: Run, saved: SavedRun) -> None:
    """Bring `run`, which is built and warmed up, to where `saved` was.

    Where another number of processes had saved, losses are the mean of theirs, and what is timed
    step by step begins anew.

    Raises:
        InputError: a tensor is not what this run has in its place.
    """
    model, optimizer, processes = (
        _unpacked(saved, name)
        for name in ("model.safetensors", "optimizer.safetensors", "processes.safetensors")
    )
    state, batch_plan = saved.state, run.context.batch_plan
    scaler = run.context.accelerator.scaler
    try:
        own = [_with_prefix(processes, f"{i}.") for i in range(state.num_processes)]
        _check_processes(own, step=state.step, last=batch_plan.num_steps)
        _fill_model(run.parts.model, model)
        _fill_optimizer(run.parts, optimizer)
        if state.num_processes == batch_plan.num_processes:
            _fill_process(run, own[batch_plan.process_index])
        else:
            _fill_other_process(run, own)
        if scaler is not None and state.scaler is not None:
            scaler.load_state_dict(dict(state.scaler))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{saved.path}: does not fit this run ({first_line(error)})") from None
    _take_over(run, saved)


def _state(run: Run, cause: int) -> CheckpointState:
    context, state = run.context, run.state
    scaler, counts = context.accelerator.scaler, state.counts
    config = context.invocation.config
    values = config.model_dump(mode="json", exclude=set(BOOKKEEPING))
    return CheckpointState(
        run_id=context.run_id,
        invocation=context.invocation.id,
        config=values_redacted(values) if config.anonymize else values,
        seed=context.config.seed,
        created_at=context.created_at,
        saved_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        cause=cast("StopSignal", signal.Signals(cause).name) if cause else None,
        num_processes=context.batch_plan.num_processes,
        global_batch_size=context.batch_plan.global_batch_size,
        mixed_precision=context.accelerator.mixed_precision,
        device_type=context.accelerator.device.type,
        loop_floor=run.parts.plan.mode,
        kernels=run.parts.plan.kernels,
        dataset=context.data.info,
        step=state.step,
        eval_points=state.eval_points,
        interruptions=state.interruptions,
        counts=counts.model_copy(update={"saved": counts.saved + 1}),
        code=_code(run),
        scaler=None if scaler is None else scaler.state_dict(),
    )


def _code(run: Run) -> dict[str, Fact]:
    versions, code = running_code()
    return versions | code | {OWN_CODE: sources_text(one.info for one in run.context.code)}


def _packed(tensors: Named) -> bytes:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain)


def _take_over(run: Run, saved: SavedRun) -> None:
    earlier, state = saved.state, run.state
    state.step, state.eval_points = earlier.step, list(earlier.eval_points)
    state.counts = earlier.counts
    then, now = earlier.code, _code(run)
    changes = {k: [then.get(k), now[k]] for k in now if then and then.get(k) != now[k]}
    interruption = Interruption(
        step=earlier.step,
        cause=earlier.cause,
        saved_at=earlier.saved_at,
        resumed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        num_processes=earlier.num_processes,
        code_changes=None if then is None else changes,
    )
    state.interruptions = [*earlier.interruptions, interruption]


def _unpacked(saved: SavedRun, name: str) -> Named:
    try:
        return safetensors.torch.load(saved.files[name])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{saved.path / name}: not safetensors ({first_line(error)})") from None


def _of_process(run: Run) -> Named:
    state, device = run.state, run.context.accelerator.device
    phases_s, wall_s = state.ledger.state()
    exchanges = state.exchange_timer.durations_s() if state.exchange_timer else []
    own_random = device_rng_state(device)
    on_device = {} if own_random is None else {"device_random": own_random}
    own = kept(run.parts) if run.parts.plan.own else {}
    return {
        "random": torch.get_rng_state(),
        "losses": state.losses[: state.step],
        "steps_s": torch.tensor(state.timer.durations_s(), dtype=torch.float64),
        "exchanges_s": torch.tensor(exchanges, dtype=torch.float64),
        "phases_s": torch.tensor(phases_s, dtype=torch.float64),
        "wall_s": torch.tensor(wall_s, dtype=torch.float64),
        **on_device,
        **{_OWN + name: tensor for name, tensor in own.items()},
    }


def _fill_process(run: Run, own: Named) -> None:
    state, device = run.state, run.context.accelerator.device
    torch.set_rng_state(own["random"])
    if device.type != "cpu":
        set_device_rng_state(own["device_random"], device)
    state.losses[: len(own["losses"])] = own["losses"]
    state.timer.restore(own["steps_s"].tolist())
    if state.exchange_timer is not None:
        state.exchange_timer.restore(own["exchanges_s"].tolist())
    state.ledger.restore(own["phases_s"].tolist(), own["wall_s"].item())
    _fill_own(run, own)


def _fill_own(run: Run, own: Named) -> None:
    if run.parts.plan.own:
        put_back(run.parts, _with_prefix(own, _OWN), run.context.accelerator.device)


def _fill_other_process(run: Run, own: Sequence[Named]) -> None:
    losses = torch.stack([one["losses"] for one in own]).mean(dim=0)
    run.state.losses[: len(losses)] = losses
    _fill_own(run, own[0])
    slowest = max(own, key=lambda one: one["phases_s"].sum().item())
    run.state.ledger.restore(slowest["phases_s"].tolist(), slowest["wall_s"].item())


def _check_processes(own: Sequence[Named], *, step: int, last: int) -> None:
    """What a checkpoint says of its processes, checked for all of them by each."""
    if step > last:
        raise ValueError(f"it is at step {step} of {last}")
    for one in own:
        if one["losses"].shape != (step,) or one["losses"].dtype != torch.float32:
            raise ValueError(f"it has not one loss for each of {step} steps")
        for name in ("steps_s", "exchanges_s", "phases_s", "wall_s"):
            if not bool(((one[name] >= 0) & one[name].isfinite()).all()):
                raise ValueError(f"{name} are not durations")


def _fill_model(model: nn.Module, values: Named) -> None:
    places = model.state_dict()
    if places.keys() != values.keys():
        name = min(places.keys() ^ values.keys())
        raise ValueError(f"{name} is in one model only")
    for name, place in places.items():
        _check_like(name, place, values[name])
        place.copy_(values[name])


def _of_optimizer(parts: BuiltParts) -> Named:
    if "optimizer" in parts.plan.own:
        return optimizer_state(parts.optimizer)
    states = (parts.optimizer.state.get(weight, {}) for _, weight in _weights(parts.optimizer))
    return {
        f"{index}.{name}": value
        for index, state in enumerate(states)
        for name, value in state.items()
        if value is not None
    }


@torch.no_grad()
def _fill_optimizer(parts: BuiltParts, values: Named) -> None:
    optimizer, left = parts.optimizer, dict(values)
    if "optimizer" in parts.plan.own:
        optimizer.load_state_dict(unpack(values, next(parts.model.parameters()).device))
        return
    for index, (group, weight) in enumerate(_weights(optimizer)):
        state = optimizer.state[weight] if _with_prefix(values, f"{index}.") else {}
        for name, value in _with_prefix(values, f"{index}.").items():
            del left[f"{index}.{name}"]
            if isinstance(state.get(name), Tensor):
                _check_like(name, state[name], value)
                state[name].copy_(value)
            else:
                state[name] = _placed(name, value, group, weight)
    if left:
        raise ValueError(f"optimizer has no place for {min(left)}")


def _placed(name: str, value: Tensor, group: Mapping[str, object], weight: Tensor) -> Tensor:
    """`value` where and as the optimizer would have made it."""
    if value.numel() not in {1, weight.numel()} or not value.is_floating_point():
        raise ValueError(f"{name} has {value.numel()} values for {weight.numel()} weights")
    if name == "step" and not (group.get("capturable") or group.get("fused")):
        return value.clone()  # read on the host
    same_shape = value.shape == weight.shape
    place = torch.empty_like(weight if same_shape else value, dtype=value.dtype)
    return place.to(weight.device).copy_(value)


def _weights(optimizer: torch.optim.Optimizer) -> Iterator[tuple[Mapping[str, object], Tensor]]:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            yield group, weight


def _check_like(name: str, place: Tensor, value: Tensor) -> None:
    if (place.shape, place.dtype) != (value.shape, value.dtype):
        raise ValueError(
            f"{name} is {value.dtype} {list(value.shape)}, not {place.dtype} {list(place.shape)}"
        )


def _with_prefix(values: Named, prefix: str) -> Named:
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
