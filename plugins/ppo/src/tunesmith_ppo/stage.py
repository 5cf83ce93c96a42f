"""The stage ``ppo``."""

from __future__ import annotations

from typing import Any

from tunesmith.runtime.dropout import switch_dropout_off
from tunesmith.runtime.session import Session
from tunesmith.runtime.training_stage import TrainingStage

from tunesmith_ppo.options import PpoOptions
from tunesmith_ppo.rollout import PromptRows, prompts_together
from tunesmith_ppo.trainer import PpoTrainer


class PpoStage(TrainingStage):
    """Learns from answers that are rated as they are given."""

    def trainer(self, session: Session) -> PpoTrainer:
        """The trainer of this run; dropout is off, since what is said now is compared with what was said before."""
        switch_dropout_off(session.models["policy"])
        return PpoTrainer(**self.parts(session), options=self.plan.options(PpoOptions), data_collator=prompts_together)

    def parts(self, session: Session) -> dict[str, Any]:
        """With rows that know their prompts."""
        found = super().parts(session)
        evals = found["eval_dataset"]
        several = {name: PromptRows(rows.store) for name, rows in evals.items()} if isinstance(evals, dict) else None
        only = PromptRows(evals.store) if evals is not None and several is None else None
        train = PromptRows(session.train_data) if session.train_data is not None else None
        return {**found, "train_dataset": train, "eval_dataset": several or only}
