"""The stage ``rm``."""

from __future__ import annotations

import json
from typing import Any

import torch
from tunesmith.runtime.durable_files import write_text
from tunesmith.runtime.pairs import SIDES, PairCollator
from tunesmith.runtime.session import Session
from tunesmith.runtime.training_stage import TrainingStage, reader_of
from tunesmith.runtime.value_head import under_adapter, value_head

from tunesmith_reward.trainer import PairTrainer

PREDICTIONS = "generated_predictions.jsonl"


class RewardStage(TrainingStage):
    """Learns a score from which of two answers is the better one."""

    def trainer(self, session: Session) -> PairTrainer:
        """The trainer of this run."""
        rest_the_output_head(session.models["policy"])
        collator = PairCollator(session.tokenizer.pad_token_id, media=reader_of(session))
        return PairTrainer(**self.parts(session), data_collator=collator)

    def judge(self, trainer: PairTrainer, session: Session) -> dict[str, float]:
        """Loss, accuracy and margins; the scores themselves where ``do_predict`` asks for them."""
        metrics = super().judge(trainer, session)
        return {**metrics, **(_predict(trainer, session) if session.args.do_predict else {})}


def rest_the_output_head(model: Any) -> None:
    """Nobody looks at the logits of a model that rates, so that what makes them cannot learn: it stays as it is."""
    plain = under_adapter(model)
    head = plain.get_output_embeddings() if value_head(model) is not None else None
    if head is not None and head.weight is not plain.get_input_embeddings().weight:
        head.requires_grad_(False)


def _predict(trainer: PairTrainer, session: Session) -> dict[str, float]:
    """Rate every pair of the evaluation data; one line of scores to each."""
    metrics: dict[str, float] = {}
    lines: list[str] = []
    several = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else {"": trainer.eval_dataset}
    for name, dataset in several.items():
        found = trainer.predict(dataset, metric_key_prefix=f"predict_{name}" if name else "predict")
        metrics |= found.metrics
        pairs = torch.as_tensor(found.predictions).tolist()
        lines += [json.dumps(dict(zip(SIDES, pair, strict=True))) for pair in pairs]
    if trainer.is_world_process_zero():
        session.output_dir.mkdir(parents=True, exist_ok=True)
        write_text(session.output_dir / PREDICTIONS, "\n".join(lines) + "\n")
    return metrics
