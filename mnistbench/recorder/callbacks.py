"""Callbacks by which Hugging Face's Trainer and Lightning tell a recording what they do.

Neither library is imported before its callback is asked for. Samples are those of the batches that
the model trains on, a step is an update of its weights. What passes between two steps, but for
logs, evaluations and checkpoints, is taken as waiting for data.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import import_module
from numbers import Real
from typing import Any, ClassVar

from mnistbench.recorder.step_counting import StepCounter
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import DATA_WAIT

_NO_METRIC = re.compile(
    r"epoch|runtime|\w+_per_second|jit_compilation_time|model_preparation_time|mem_\w+"
)
"""What the Trainer puts beside the metrics of a model."""
_PREFIX = re.compile(r"(val|valid|validation|test)[_/.-](?=.)")


class _Events:
    """What both do: count steps, and pause the train clock for one thing at a time."""

    bases: ClassVar[tuple[str, ...]]
    """Classes that such a callback may be of: of those imported, or else of the first."""

    @classmethod
    def callback(cls, *about: Any) -> Any:
        """One that its library takes for its own.

        Raises:
            InputError: the library cannot be imported.
        """
        used = [name for name in cls.bases if name.rpartition(".")[0] in sys.modules]
        names = [name.rpartition(".") for name in used or cls.bases[:1]]
        try:
            bases = [getattr(import_module(module), name) for module, _, name in names]
        except ImportError as error:
            raise InputError(f"{names[0][0]}: cannot be imported ({error})") from error
        return type(cls.__name__, (cls, *bases), {})(*about)

    def __init__(
        self, steps: StepCounter, evaluated: Callable[..., object], count: Callable[[Any], int]
    ) -> None:
        """`evaluated` notes metrics, `count` gives the samples of a batch."""
        super().__init__()
        self._steps, self._note, self._count = steps, evaluated, count
        self._loop, self._pause = ExitStack(), ExitStack()
        self._is_in_loop = False
        self._phase = ""
        self._num_samples = 0

    def _begin_loop(self) -> None:
        self._loop.enter_context(self._steps.followed())
        self._is_in_loop = True

    def _end_loop(self) -> None:
        self._is_in_loop = False
        self._pause.close()
        self._loop.close()

    def _begin_step(self) -> None:
        self._num_samples = 0
        self._steps.begin_step()

    def _charge(self, phase: str) -> None:
        """End a pause, and charge what comes to `phase`: ``train``, ``data_wait`` or a pause's."""
        self._pause.close()
        self._phase = phase
        if self._is_in_loop:  # what a pause waits for are steps
            self._steps.log.ledger.switch(DATA_WAIT if phase == DATA_WAIT else "train", wait=False)
        if phase not in {"train", DATA_WAIT}:
            self._pause.enter_context(self._steps.paused(phase))

    def _evaluated(self, metrics: Mapping[str, Any], split: str) -> None:
        """Note metrics, but not before all training, nor a second time after the same step."""
        self._pause.close()
        numbers = {name: value for name, value in metrics.items() if _is_number(value)}
        log = self._steps.log
        known = {(point.step, point.split) for point in log.eval_points}
        if log.step and numbers and (log.step, split) not in known:
            self._note(split=split, **numbers)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or getattr(value, "shape", None) == ()


class TrainerEvents(_Events):
    """Events of ``transformers.Trainer``, as it calls them on each process."""

    bases = ("transformers.TrainerCallback",)
    _hook: Any = None
    _is_counted = True

    def on_train_begin(self, args: Any, _state: Any, _control: Any, **told: Any) -> None:
        """Count what the model is called with."""
        self._release()
        self._is_split = args.n_gpu > 1  # nn.DataParallel calls replicas, each with its part
        self._hook = told["model"].register_forward_pre_hook(self._forward, with_kwargs=True)
        self._begin_loop()

    def on_train_end(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Let go of the model."""
        self._release()

    def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """The batches of a step are there."""
        self._charge("train")
        self._begin_step()
        self._is_counted = False

    def on_substep_end(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Another batch of the step comes."""
        self._is_counted = False

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """The weights were updated."""
        self._steps.end_step(self._num_samples, state.epoch)
        self._charge_next(control)

    def on_epoch_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Batches are fetched."""
        self._charge(DATA_WAIT)

    def on_save(self, _args: Any, _state: Any, control: Any, *_: Any, **__: Any) -> None:
        """It goes on to what its flags say, as after an epoch and what it predicts."""
        self._charge_next(control)

    on_epoch_end = on_predict = on_save

    def on_log(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """It has logged; so it does inside an evaluation, too."""
        if self._phase != "eval":
            self._charge_next(control)

    def on_prediction_step(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """An evaluation that no flag announced."""
        if self._phase != "eval":
            self._charge("eval")

    def on_evaluate(
        self, args: Any, _state: Any, control: Any, metrics: Mapping[str, Any], **_: Any
    ) -> None:
        """Note the metrics without their prefix: ``eval`` is the split val, ``test`` is test."""
        of_time = (name.rpartition("_runtime")[0] for name in metrics if name.endswith("_runtime"))
        prefix = next(of_time, "eval")
        split = "val" if prefix == "eval" else prefix.removeprefix("eval_")
        named = {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items()}
        left = {name: value for name, value in named.items() if not _NO_METRIC.fullmatch(name)}
        self._evaluated(left, split)
        self._charge_next(control)
        if args.save_strategy == "best":  # which is decided after this
            self._charge("checkpoint")

    def _charge_next(self, control: Any) -> None:
        """What comes next, as the Trainer's flags say: evaluate, save, log, or fetch batches."""
        named = {"eval": control.should_evaluate, "checkpoint": control.should_save}
        named["train"] = control.should_log  # which waits for the device
        is_next = (phase for phase, is_asked in named.items() if is_asked and self._is_in_loop)
        self._charge(next(is_next, DATA_WAIT))

    def _forward(self, model: Any, args: Any, kwargs: Any) -> None:
        """Count a batch once, however often a loss calls the model."""
        if model.training and (self._is_split or not self._is_counted):
            self._is_counted = True
            self._num_samples += self._count((*args, kwargs))

    def _release(self) -> None:
        self._end_loop()
        if self._hook:
            self._hook.remove()


class LightningEvents(_Events):
    """Events of Lightning's Trainer, as it calls them on each process."""

    bases = ("lightning.pytorch.Callback", "pytorch_lightning.Callback")
    _is_in_step = False

    def on_train_start(self, trainer: Any, _module: Any) -> None:
        """Surround what saves checkpoints, of which a callback hears the begin only."""
        save = trainer.save_checkpoint

        def paused(*args: Any, **kwargs: Any) -> Any:
            with self._steps.paused("checkpoint"):
                return save(*args, **kwargs)

        trainer.save_checkpoint = paused
        self._begin_loop()

    def on_train_end(self, trainer: Any, _module: Any) -> None:
        """Leave the Trainer as it was."""
        self._end_loop()
        vars(trainer).pop("save_checkpoint", None)

    def on_train_batch_start(self, trainer: Any, _module: Any, batch: Any, _index: int) -> None:
        """A batch is there."""
        self._charge("train")
        if not self._is_in_step:
            self._begin_step()
            self._is_in_step, self._updates = True, trainer.global_step
        self._num_samples += self._count(batch)

    def on_train_batch_end(
        self, trainer: Any, _module: Any, _outputs: Any, _batch: Any, index: int
    ) -> None:
        """It was the last of a step where the weights were updated."""
        if trainer.global_step > self._updates:
            self._is_in_step = False
            num_batches = trainer.num_training_batches
            is_known = 0 < num_batches < float("inf")
            epochs = trainer.current_epoch + (index + 1) / num_batches if is_known else None
            self._steps.end_step(self._num_samples, epochs)
        self._charge(DATA_WAIT)

    def on_validation_start(self, trainer: Any, _module: Any) -> None:
        """Metrics that are known by now are not of this evaluation."""
        self._before = dict(trainer.callback_metrics)
        self._charge("eval")

    def on_validation_end(self, trainer: Any, _module: Any) -> None:
        """Note what was logged in it, without the split's name in front."""
        split = "test" if trainer.testing else "val"
        logged = trainer.callback_metrics.items()
        new = {name: value for name, value in logged if self._before.get(name) is not value}
        self._evaluated({_PREFIX.sub("", name, count=1): new[name] for name in new}, split)
        self._charge(DATA_WAIT)

    on_test_start, on_test_end = on_validation_start, on_validation_end
