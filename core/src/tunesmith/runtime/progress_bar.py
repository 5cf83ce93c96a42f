"""How far a run is, for whoever watches it: a bar on a terminal, a line for each log event anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith.runtime.speaking import is_watched
from tunesmith.sizes import size_text

if TYPE_CHECKING:
    from tunesmith.runtime.checkpointing_trainer import SessionTrainer


class Progress(TrainerCallback):
    """Shows steps, what was measured, tokens per second, memory and the time that is left, on standard error.

    A terminal that can move its cursor gets a bar, unless ``disable_tqdm`` says otherwise; a dumb one and a file get lines.
    With ``verbosity: error`` nothing is shown. Only the first process shows anything.
    """

    def __init__(self, trainer: SessionTrainer) -> None:
        self._trainer = trainer
        self._bar: tqdm[Any] | None = None
        self._inner: tqdm[Any] | None = None
        self._started = time.monotonic()
        self._first = self._tokens = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock at the step from which training goes on."""
        self._started, self._first, self._tokens = time.monotonic(), state.global_step, self._trainer.tokens_seen
        if self._shown(state) and draws_bars(args):
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, dynamic_ncols=True, unit="step")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)
            self._bar.set_postfix_str(", ".join(self._pace(state, left=False)), refresh=False)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A line with every number, above the bar where there is one."""
        if not logs or not self._shown(state):
            return
        measured = [f"{name} {_number(value)}" for name, value in logs.items() if name not in ("total_flos", "epoch")]
        left = state.is_world_process_zero and self._bar is None and "loss" in logs
        line = f"step {state.global_step}/{state.max_steps}  " + "  ".join([*measured, *(self._pace(state) if left else ())])
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, eval_dataloader: Any = None, **kwargs: Any
    ) -> None:
        """Move the bar of an evaluation."""
        if not self._shown(state) or not draws_bars(args) or not hasattr(eval_dataloader, "__len__"):
            return
        if self._inner is None:
            self._inner = tqdm(total=len(eval_dataloader), leave=False, dynamic_ncols=True, desc="evaluating", unit="batch")
        self._inner.update(1)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take the bar of the evaluation away."""
        self._inner = _closed(self._inner)

    def on_predict(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """As after an evaluation."""
        self._inner = _closed(self._inner)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take the bar away."""
        self._bar = _closed(self._bar)

    def _shown(self, state: TrainerState) -> bool:
        quiet = self._trainer.session.plan["verbosity"] in ("error", "critical")
        return bool(state.is_world_process_zero) and not quiet

    def _pace(self, state: TrainerState, *, left: bool = True) -> Iterator[str]:
        elapsed, done = time.monotonic() - self._started, state.global_step - self._first
        if tokens := self._trainer.tokens_seen - self._tokens:
            yield f"{tokens / max(elapsed, 1e-9):,.0f} tokens/s"
        if used := self._trainer.session.backend.memory().used:
            yield size_text(used)
        if left and done:
            yield f"{timedelta(seconds=int(elapsed / done * (state.max_steps - state.global_step)))} left"


def draws_bars(args: TrainingArguments) -> bool:
    """Whether a bar can be drawn, and nobody said not to."""
    return is_watched() and not args.disable_tqdm


def _closed(bar: tqdm[Any] | None) -> None:
    if bar is not None:
        bar.close()


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
