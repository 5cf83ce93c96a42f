"""The stages ``dpo`` and ``kto``."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import torch
from tunesmith.runtime.batch_trainer import BatchTrainer
from tunesmith.runtime.dropout import switch_dropout_off
from tunesmith.runtime.pairs import PairCollator
from tunesmith.runtime.session import Session
from tunesmith.runtime.training_stage import TrainingStage, reader_of

from tunesmith_preference.answers import read_answers
from tunesmith_preference.dpo import DpoTrainer
from tunesmith_preference.feedback import FeedbackCollator, FeedbackRows
from tunesmith_preference.kto import NAMES, KtoTrainer, read_both, read_own
from tunesmith_preference.options import DpoOptions, KtoOptions, PreferenceOptions
from tunesmith_preference.reference import PAIR_NAMES, KeptRows, Reference, keep

log = logging.getLogger(__name__)

#: What Ethayarajh et al. found to work: the weights of liked and of other answers, all together, in this relation.
BALANCE = (1.0, 4 / 3)


class PreferenceStage(TrainingStage):
    """What both stages do alike."""

    options_class: type[PreferenceOptions] = PreferenceOptions

    @abstractmethod
    def make(self, session: Session, parts: dict[str, Any]) -> BatchTrainer:
        """The trainer, made of ``parts``."""

    def trainer(self, session: Session) -> BatchTrainer:
        """The trainer of this run."""
        if self.plan.options(self.options_class).disable_dropout:
            switch_dropout_off(session.models["policy"])
        return self.make(session, self.parts(session))

    def kept(self, reference: Reference, parts: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        """The parts with rows that hold what the reference model said, where that is wanted; it is let go of then."""
        if not self.plan["precompute_ref_log_probs"]:
            return parts
        collate = parts["data_collator"]

        def rows(given: Any, name: str) -> KeptRows | None:
            return keep(reference, given, collate, name, facts) if given is not None else None

        evals = parts["eval_dataset"]
        several = {name: rows(one, name) for name, one in evals.items()} if isinstance(evals, dict) else rows(evals, "eval")
        found = {**parts, "train_dataset": rows(parts["train_dataset"], "train"), "eval_dataset": several}
        if reference.session.models.pop("reference", None) is not None:
            reference.session.backend.empty_cache()
        return found


class DpoStage(PreferenceStage):
    """Learns which of two answers is preferred."""

    options_class = DpoOptions

    def make(self, session: Session, parts: dict[str, Any]) -> DpoTrainer:
        """With a reference model that is asked about pairs."""
        options = self.plan.options(DpoOptions)

        def read(model: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
            return read_answers(model, batch, ld_alpha=options.ld_alpha).logps.chunk(2)

        reference = Reference(session, read, PAIR_NAMES)
        parts["data_collator"] = PairCollator(session.tokenizer.pad_token_id, media=reader_of(session))
        parts = self.kept(reference, parts, {"ld_alpha": options.ld_alpha})
        return DpoTrainer(**parts, options=options, reference=reference)


class KtoStage(PreferenceStage):
    """Learns which answers were liked and which were not."""

    options_class = KtoOptions

    def make(self, session: Session, parts: dict[str, Any]) -> KtoTrainer:
        """With a reference model that is asked about each answer, and about another row's."""
        options, limit = self.plan.options(KtoOptions), int(self.plan["cutoff_len"])
        both = options.kto_loss == "kto"
        reference = Reference(session, read_both if both else read_own, NAMES if both else NAMES[:1])
        evals = parts["eval_dataset"]
        several = {name: FeedbackRows(rows.store, limit) for name, rows in evals.items()} if isinstance(evals, dict) else None
        only = FeedbackRows(evals.store, limit) if evals is not None and several is None else None
        train = parts["train_dataset"]
        parts["train_dataset"] = FeedbackRows(train.store, limit) if train is not None else None
        parts["eval_dataset"] = several or only
        parts["data_collator"] = FeedbackCollator(session.tokenizer.pad_token_id, media=reader_of(session))
        if train is not None:
            say_balance(cast(FeedbackRows, parts["train_dataset"]), options)
        return KtoTrainer(**self.kept(reference, parts, {"limit": limit}), options=options, reference=reference)


def say_balance(rows: FeedbackRows, options: KtoOptions) -> None:
    """Tell whoever has many more answers of one kind which weights would even that out."""
    liked = sum(bool(rows.store.facts(index)["desirable"]) for index in range(len(rows)))
    others = len(rows) - liked
    if not liked or not others:
        log.warning("All answers are of one kind: %d liked, %d not. KTO learns from both.", liked, others)
        return
    relation = liked * options.kto_chosen_weight / max(others * options.kto_rejected_weight, 1e-9)
    least, most = BALANCE
    if not least <= relation * 1.001 or not relation <= most * 1.001:
        fit = others * options.kto_rejected_weight / liked
        log.warning(
            "%d answers were liked and %d were not. Together with their weights they are best of equal weight: "
            "kto_chosen_weight: %.3g to %.3g.",
            liked,
            others,
            least * fit,
            most * fit,
        )
