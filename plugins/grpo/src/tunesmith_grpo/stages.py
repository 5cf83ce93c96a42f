"""The stages ``grpo``, ``rloo`` and ``distill``."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict
from typing import Any

from trl import DistillationConfig, GRPOConfig, RLOOConfig
from tunesmith.roles import ReferenceOptions, RewardFunctionOptions, RewardModelOptions
from tunesmith.runtime.dropout import switch_dropout_off
from tunesmith.runtime.session import Session
from tunesmith.runtime.stopping import stop_ids
from tunesmith.runtime.training_stage import TrainingStage

from tunesmith_grpo.arguments import arguments_class, sampling
from tunesmith_grpo.options import AnsweringOptions, GroupOptions, GrpoOptions, RlooOptions, ToolOptions
from tunesmith_grpo.prompts import PromptBook
from tunesmith_grpo.rating import rating_functions
from tunesmith_grpo.trainers import DistillTrainer, GrpoTrainer, PromptTrainer, RlooTrainer

KINDS = (AnsweringOptions, ToolOptions, RewardFunctionOptions, RewardModelOptions, ReferenceOptions)
#: Keys that trl does not get.
OURS = {name for kind in KINDS for name in kind.__dataclass_fields__}


class PromptStage(TrainingStage):
    """Answers prompts and learns from that."""

    config: type
    trainer_class: type[PromptTrainer]

    @abstractmethod
    def own(self) -> dict[str, Any]:
        """trl's arguments that this stage sets, beside sampling."""

    def arguments_class(self) -> type:
        """trl's own, filled with the plan's values."""
        own = {**self.own(), **sampling(self.plan), "shuffle_dataset": not self.plan["disable_shuffling"]}
        return arguments_class(self.config, own)

    def more(self, session: Session, book: PromptBook) -> dict[str, Any]:
        """What else the trainer is made with."""
        return {}

    def trainer(self, session: Session) -> PromptTrainer:
        """The trainer of this run."""
        switch_dropout_off(session.models["policy"])
        if session.args.use_vllm:  # it knows the model's own end of text alone
            stops = stop_ids(session.tokenizer, session.renderer)
            session.args.generation_kwargs = {**(session.args.generation_kwargs or {}), "stop_token_ids": stops}
        parts = super().parts(session)
        stores = {f"eval/{name}": store for name, store in session.eval_data.items()}
        if session.train_data is not None:
            stores["train"] = session.train_data
        book = PromptBook(stores)
        judged = {name: book.dataset(f"eval/{name}") for name in session.eval_data}
        several = isinstance(parts["eval_dataset"], dict)
        # trl wants something to learn from, whether the run learns or only evaluates.
        parts["train_dataset"] = book.dataset("train" if "train" in stores else next(iter(stores)))
        parts["eval_dataset"] = judged if several else next(iter(judged.values()), None)
        return self.trainer_class(**parts, book=book, **self.more(session, book))


class GroupStage(PromptStage):
    """Learns from several answers to each prompt."""

    options_class: type[GroupOptions]

    def own(self) -> dict[str, Any]:
        """The keys of the stage; the reference model is ours to bring."""
        options = asdict(self.plan.options(self.options_class))
        return {**{name: value for name, value in options.items() if name not in OURS}, "beta": 0.0}

    def more(self, session: Session, book: PromptBook) -> dict[str, Any]:
        """What rates, and how near the reference model holds the policy."""
        functions, weights = rating_functions(session, book, stop_ids(session.tokenizer, session.renderer))
        session.args.reward_weights = weights  # type: ignore[attr-defined]
        return {"reward_funcs": functions, "beta": self.plan["beta"]}


class GrpoStage(GroupStage):
    """Group relative policy optimisation."""

    options_class = GrpoOptions
    config = GRPOConfig
    trainer_class = GrpoTrainer


class RlooStage(GroupStage):
    """REINFORCE, leave one out."""

    options_class = RlooOptions
    config = RLOOConfig
    trainer_class = RlooTrainer


class DistillStage(PromptStage):
    """Learns to answer as a teacher would."""

    config = DistillationConfig
    trainer_class = DistillTrainer

    def own(self) -> dict[str, Any]:
        """Which divergence is made small."""
        return {"beta": self.plan["distill_beta"]}

    def more(self, session: Session, book: PromptBook) -> dict[str, Any]:
        """The teacher."""
        return {"teacher_model": session.models["teacher"]}
