"""What most stages do alike: train, keep the best, evaluate, and tell what came of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from transformers import EarlyStoppingCallback, Seq2SeqTrainingArguments

from tunesmith.contracts import MediaReader, Outcome, Trainer
from tunesmith.plan import Plan
from tunesmith.runtime.collate import Rows
from tunesmith.runtime.session import Session
from tunesmith.runtime.streaming import StreamedRows, rows_of


class Patience(EarlyStoppingCallback):
    """Early stopping that waits for the measure it goes by where several datasets are judged one after the other."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        """Count an evaluation that says nothing new."""
        wanted = args.metric_for_best_model
        if wanted in metrics or f"eval_{wanted}" in metrics:
            super().on_evaluate(args, state, control, metrics, **kwargs)


class TrainingStage(Trainer):
    """A stage around a trainer of transformers' kind."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def arguments_class(self) -> type:
        """With the keys for generation, which configurations of every stage may hold."""
        kind: type = Seq2SeqTrainingArguments
        return kind

    @abstractmethod
    def trainer(self, session: Session) -> Any:
        """The trainer of this run, of :class:`~tunesmith.runtime.checkpointing_trainer.SessionTrainer`'s kind."""

    def run(self, session: Session) -> Outcome:
        """Train, evaluate and predict as the plan says."""
        trainer = self.trainer(session)
        metrics: dict[str, float] = {}
        if session.args.do_train:
            metrics |= self._train(trainer, session)
        if not trainer.interruption.reason:
            metrics |= self.judge(trainer, session)
        return Outcome(trainer.state.global_step, metrics, trainer.stopped if session.args.do_train else "")

    def judge(self, trainer: Any, session: Session) -> dict[str, float]:
        """What is measured at the end."""
        return trainer.evaluate() if session.args.do_eval and session.eval_data else {}

    def parts(self, session: Session) -> dict[str, Any]:
        """What every trainer is made with."""
        patience = self.plan["early_stopping_steps"]
        return {
            "session": session,
            "model": session.models["policy"],
            "args": session.args,
            "train_dataset": rows_of(session.train_data) if session.train_data is not None else None,
            "eval_dataset": eval_datasets(session),
            "processing_class": session.tokenizer,
            "callbacks": [Patience(patience)] if patience else [],
        }

    def _train(self, trainer: Any, session: Session) -> dict[str, float]:
        metrics: dict[str, float] = dict(trainer.train().metrics)
        session.models["policy"] = trainer.accelerator.unwrap_model(trainer.model)
        data = session.train_data
        if self.plan["include_effective_tokens_per_second"] and data is not None and not isinstance(data, StreamedRows):
            tokens = sum(int(data.lengths(name).sum()) for name in data.sequences)
            metrics["effective_tokens_per_sec"] = tokens * metrics["epoch"] / metrics["train_runtime"]
        trainer.save_state()
        return metrics


def reader_of(session: Session) -> MediaReader | None:
    """What brings before the model what rows hold beside text; ``None`` for a model that only reads."""
    return session.renderer.media if session.renderer is not None else None


def eval_datasets(session: Session) -> Rows | dict[str, Rows] | None:
    """One dataset, or several by name where each is to be judged by itself."""
    if len(session.eval_data) == 1 and not session.plan["eval_on_each_dataset"]:
        return Rows(next(iter(session.eval_data.values())))
    return {name: Rows(store) for name, store in session.eval_data.items()} or None
