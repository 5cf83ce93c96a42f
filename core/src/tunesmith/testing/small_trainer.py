"""The plainest trainer on top of the runtime: for tests of the runtime, and an example of how little a stage needs."""

from __future__ import annotations

from transformers import Trainer as TransformersTrainer

from tunesmith.contracts import Outcome, Trainer
from tunesmith.plan import Plan
from tunesmith.runtime.checkpointing_trainer import SessionTrainer
from tunesmith.runtime.collate import Collator, Rows
from tunesmith.runtime.session import Session
from tunesmith.runtime.streaming import rows_of


class PlainTrainer(SessionTrainer, TransformersTrainer):
    """transformers' trainer with the session's checkpoints."""


class SmallStage(Trainer):
    """Learns rows of tokens and evaluates them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def run(self, session: Session) -> Outcome:
        """Train and evaluate as the arguments say."""
        packed = session.train_data is not None and session.train_data.packed
        trainer = PlainTrainer(
            session=session,
            model=session.models["policy"],
            args=session.args,
            data_collator=Collator(session.tokenizer.pad_token_id, packed=packed),
            train_dataset=rows_of(session.train_data) if session.train_data is not None else None,
            eval_dataset=next((Rows(store) for store in session.eval_data.values()), None),
            processing_class=session.tokenizer,
        )
        metrics = dict(trainer.train().metrics)
        trainer.save_state()
        return Outcome(trainer.state.global_step, metrics, trainer.stopped)
