"""What happens between the steps of a run: plugins are told, signals are answered, and the watchdog sees that it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from tunesmith.runtime.checkpointing_trainer import SessionTrainer


class CutShortError(Exception):
    """Ends an evaluation in the middle of training."""


class RunCallback(TrainerCallback):
    """Tells plugins of every step, and ends the run at the next step once somebody asked for it. Comes last."""

    def __init__(self, trainer: SessionTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """See that the model is spread as the launcher promised; continue the sums of a run that is resumed."""
        self.trainer.session.strategy.wrap_check(self.trainer.model_wrapped, args.world_size)
        self.trainer.load_running()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Tell plugins; then see whether to stop."""
        session = self.trainer.session
        self.trainer.watchdog.alive()
        if self.trainer.stream is not None:
            state.epoch = state.global_step / state.max_steps  # counted by transformers from where it was resumed
        session.plugins.step_ended(session, state.global_step)
        if self.trainer.interruption.agreed(args.world_size, args.device):
            control.should_training_stop = control.should_save = True
            control.should_evaluate = False
        return control

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A part of a step is done."""
        self.trainer.watchdog.alive()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A checkpoint may take a while."""
        self.trainer.watchdog.alive()

    def on_prediction_step(self, args: TrainingArguments, *_: Any, **kwargs: Any) -> None:
        """Let a signal through that came while evaluating; after training nothing depends on it any more."""
        self.trainer.watchdog.alive()
        if self.trainer.is_in_train and self.trainer.interruption.agreed(args.world_size, args.device):
            raise CutShortError

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """An epoch that was cut short is no reason to evaluate or to save once more."""
        if self.trainer.interruption.reason:
            control.should_evaluate = control.should_save = control.should_log = False
        return control
