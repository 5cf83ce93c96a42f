"""The stages ``sft`` and ``pt``: the same trainer, evaluated and used in their own ways."""

from __future__ import annotations

import math
from typing import Any

from transformers import EarlyStoppingCallback, Seq2SeqTrainingArguments
from tunesmith.contracts import Outcome, Trainer
from tunesmith.data.store import TokenStore
from tunesmith.plan import Plan
from tunesmith.runtime.collate import Collator, Rows
from tunesmith.runtime.isolation import check_isolation
from tunesmith.runtime.precision import autocast
from tunesmith.runtime.session import Session
from tunesmith.runtime.streaming import StreamedRows, rows_of

from tunesmith_sft.predicting import predict
from tunesmith_sft.trainer import TokenTrainer


class Patience(EarlyStoppingCallback):
    """Early stopping that waits for the measure it goes by where several datasets are judged one after the other."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        """Count an evaluation that says nothing new."""
        wanted = args.metric_for_best_model
        if wanted in metrics or f"eval_{wanted}" in metrics:
            super().on_evaluate(args, state, control, metrics, **kwargs)


class PtStage(Trainer):
    """Learns every token of plain documents."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def arguments_class(self) -> type:
        """With the keys for generation, which configurations of every stage may hold."""
        kind: type = Seq2SeqTrainingArguments
        return kind

    def run(self, session: Session) -> Outcome:
        """Train, evaluate and predict as the plan says."""
        trainer = self.trainer(session)
        metrics: dict[str, float] = {}
        if session.args.do_train:
            metrics |= self._train(trainer, session)
        if not trainer.interruption.reason:
            metrics |= self._judge(trainer, session)
        return Outcome(trainer.state.global_step, metrics, trainer.stopped if session.args.do_train else "")

    def trainer(self, session: Session) -> TokenTrainer:
        """The trainer of this run."""
        model = session.models["policy"]
        patience = self.plan["early_stopping_steps"]
        return TokenTrainer(
            session=session,
            model=model,
            args=session.args,
            data_collator=collator(session),
            train_dataset=rows_of(session.train_data) if session.train_data is not None else None,
            eval_dataset=eval_datasets(session),
            processing_class=session.tokenizer,
            callbacks=[Patience(patience)] if patience else [],
            accuracy=self.plan["compute_accuracy"],
        )

    def _train(self, trainer: TokenTrainer, session: Session) -> dict[str, float]:
        metrics: dict[str, float] = dict(trainer.train().metrics)
        session.models["policy"] = trainer.accelerator.unwrap_model(trainer.model)
        data = session.train_data
        if self.plan["include_effective_tokens_per_second"] and data is not None and not isinstance(data, StreamedRows):
            tokens = int(data.lengths().sum())
            metrics["effective_tokens_per_sec"] = tokens * metrics["epoch"] / metrics["train_runtime"]
        trainer.save_state()
        return metrics

    def _judge(self, trainer: TokenTrainer, session: Session) -> dict[str, float]:
        metrics = trainer.evaluate() if session.args.do_eval and session.eval_data else {}
        return {**metrics, **perplexities(metrics)}


class SftStage(PtStage):
    """Learns the answers of conversations."""

    def _judge(self, trainer: TokenTrainer, session: Session) -> dict[str, float]:
        metrics = trainer.evaluate() if session.args.do_eval and session.eval_data else {}
        return {**metrics, **(predict(trainer, session) if session.args.do_predict else {})}


def collator(session: Session) -> Collator:
    """How rows become batches: packs in the way in which this model keeps their documents apart."""
    packed = any(store.packed for store in stores(session))
    joined = False
    if packed:
        rows = max(session.args.per_device_train_batch_size, session.args.per_device_eval_batch_size)
        joined = not check_isolation(session.models["policy"], autocast(session.plan, session.backend), rows)
    return Collator(session.tokenizer.pad_token_id, packed=packed, joined=joined)


def stores(session: Session) -> list[TokenStore | StreamedRows]:
    """All data of the run."""
    return [*([session.train_data] if session.train_data is not None else []), *session.eval_data.values()]


def eval_datasets(session: Session) -> Rows | dict[str, Rows] | None:
    """One dataset, or several by name where each is to be judged by itself."""
    if len(session.eval_data) == 1 and not session.plan["eval_on_each_dataset"]:
        return Rows(next(iter(session.eval_data.values())))
    return {name: Rows(store) for name, store in session.eval_data.items()} or None


def perplexities(metrics: dict[str, float]) -> dict[str, float]:
    """``eval_perplexity`` for ``eval_loss``, infinite where the loss is beyond what a number can hold."""
    found = {}
    for name, value in metrics.items():
        if name.endswith("_loss"):
            found[f"{name.removesuffix('_loss')}_perplexity"] = math.exp(value) if value < 700 else math.inf
    return found
