"""trl's trainers with the session's checkpoints, our prompts, and the reference model that the plan says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model, model_has_dtensor
from transformers import Trainer
from trl import DistillationTrainer, GRPOTrainer, RLOOTrainer
from trl.trainer.utils import add_fused_lm_head
from tunesmith.errors import TunesmithError
from tunesmith.runtime.checkpointing_trainer import SessionTrainer
from tunesmith.runtime.sampling import EpochSampler
from tunesmith.runtime.scores import unwrapped
from tunesmith.runtime.session import Session

from tunesmith_grpo.continuous import answer
from tunesmith_grpo.prompts import PromptBook
from tunesmith_grpo.tool_use import Episode, ToolUse


class PromptTrainer(SessionTrainer):
    """What all of these trainers do otherwise than trl's own. Put it before one of them.

    Prompts are answered at the start of a step, so that what a checkpoint holds is all there is to go on from.
    """

    def __init__(self, *args: Any, session: Session, book: PromptBook, **kwargs: Any) -> None:
        self.book = book
        with _as_precise_as_before(session.models["policy"]):
            super().__init__(*args, session=session, **kwargs)
        self.tool_use: ToolUse | None = None
        if next(session.plan.picked("tools"), None) is not None:
            self.tool_use = ToolUse(session, session.plan["max_tool_calling_iterations"])
            self.tools = [one.name for one in session.plan.picked("tools")]  # trl asks whether there are any
        if not session.plan["do_sample"]:  # trl has no word for the likeliest answers
            self.generation_config.update(do_sample=False, temperature=None, top_p=None, top_k=None)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The ids that the run's renderer made."""
        return [self.book.ids(prompt) for prompt in prompts], None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        """Answers in the way that the plan says. trl's own continuous batching would round the weights that learn."""
        plan = self.session.plan
        if not plan["use_transformers_continuous_batching"]:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        return self.as_answered(answer(self, prompt_ids, plan["transformers_continuous_batching_config"] or {}))

    def as_answered(self, answers: list[list[int]]) -> Any:
        """Answers as trl's trainer hands them on."""
        return answers

    def answers(self, asked: list[list[int]]) -> tuple[list[list[int]], Any]:
        """One answer to each list of ids, and how likely each of its tokens was, where that is known."""
        return self._generate_single_turn(asked, None, {}, num_generations=1)

    def _counted(self, played: list[Episode]) -> tuple[int, int, list[list[Any]]]:
        """Calls, how many of them failed, and no images."""
        assert self.tool_use is not None
        return self.tool_use.calls, self.tool_use.failures, [[] for _ in played]

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        """trl's order of prompts, anew from seed and epoch, so that a resumed epoch repeats it."""
        sampler = super(SessionTrainer, self)._get_train_sampler(train_dataset)
        return EpochSampler(sampler, self.args.seed if self.args.data_seed is None else self.args.data_seed)

    def get_train_dataloader(self) -> Any:
        """Rounds of prompts.

        :raises TunesmithError: there are too few prompts for a single one.
        """
        loader = super().get_train_dataloader()
        if not len(loader):
            raise TunesmithError(
                f"{len(self.train_dataset)} prompts are too few for a round of answers, in which none may come twice.",
                "Write a smaller per_device_train_batch_size or gradient_accumulation_steps, or give more data.",
            )
        return loader

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """Batches of prompts; tokens are counted when they are answered."""
        self.tokens_seen = int(self.state.num_input_tokens_seen)
        return Trainer.get_batch_samples(self, epoch_iterator, num_batches, device)

    def _send_telemetry(self) -> None:
        """Nothing is told to anybody."""


#: Stands where trl looks for a reference model that is the policy with its tuner switched off.
SWITCHED_OFF = object()


class GroupTrainer(PromptTrainer):
    """With the reference model that the plan says: trl would load one by itself, or switch adapters off in a way that gives
    another model than the run began with where an adapter has moved a part of the weights into itself (PiSSA)."""

    def __init__(self, *args: Any, session: Session, beta: float, **kwargs: Any) -> None:
        with _without_copies(session.models["policy"]):
            super().__init__(*args, session=session, **kwargs)
        self.beta: float = beta
        self.ref_model: Any = None
        self._take_reference()

    def _take_reference(self) -> None:
        models = self.session.models
        reference = models.get("reference")
        if reference is models["policy"]:
            self.ref_model = SWITCHED_OFF
        elif reference is not None:
            add_fused_lm_head(reference, temperature=self.temperature)
            moved = not model_has_dtensor(reference)  # weights in parts lie where their strategy has put them
            self.ref_model = self.accelerator.prepare_model(reference, device_placement=moved, evaluation_mode=True)

    def _take_weights(self, best: Path) -> None:
        """The best weights, in a model that gives log-probabilities as trl had them from the one before."""
        super()._take_weights(best)
        add_fused_lm_head(unwrapped(self.model), temperature=self.temperature, outputs=("log_probs", "entropy"))
        wish = self.session.plan.models.get("reference")
        if wish is not None and wish.base_of == "policy":
            self._take_reference()

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """How likely each token of the answers is to a model."""
        if model is not SWITCHED_OFF:
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        with self.session.answering_as("reference") as reference:
            return super()._get_per_token_logps_and_entropies(reference, *args, **kwargs)


@contextmanager
def _as_precise_as_before(policy: torch.nn.Module) -> Iterator[None]:
    """trl rounds what learns over quantised weights to bfloat16, whatever the run computes in."""
    held = [(weight, weight.data) for weight in policy.parameters() if weight.requires_grad]
    yield
    for weight, data in held:
        if weight.dtype != data.dtype:
            weight.data = data.to(weight.device)


@contextmanager
def _without_copies(policy: Any) -> Iterator[None]:
    """trl's RLOO copies every adapter into one named ref. Nobody here asks it, and not every kind can have a second."""
    if not is_peft_model(policy):
        yield
        return
    own = type(policy).get_parameter
    policy.add_adapter = lambda *_: None
    policy.get_parameter = lambda name: own(policy, name.replace(".ref.", ".default."))
    try:
        yield
    finally:
        del policy.add_adapter, policy.get_parameter


class GrpoTrainer(GroupTrainer, GRPOTrainer):
    """Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300)."""

    def _tool_call_loop(self, prompts: list[str], starts: Any, first: Any, completions: Any, logprobs: Any, *_: Any) -> Any:
        """Tools are called by our own loop, whose prompts are never rendered anew."""
        assert self.tool_use is not None
        played = self.tool_use.play(self, prompts, starts, first, logprobs)
        likely = None if logprobs is None else [one.logprobs for one in played]
        return [one.said for one in played], completions, [one.ids for one in played], likely, *self._counted(played)

    def _calculate_rewards(self, inputs: Any, *args: Any) -> Any:
        """Reward functions see what tools have said, too."""
        if self.tool_use is not None:
            self.tool_use.told(inputs)
        return super()._calculate_rewards(inputs, *args)

    def as_answered(self, answers: list[list[int]]) -> Any:
        """With no word of how likely they were."""
        return answers, None


class RlooTrainer(GroupTrainer, RLOOTrainer):
    """REINFORCE, leave one out (Ahmadian et al. 2024, arXiv:2402.14740)."""


class DistillTrainer(PromptTrainer, DistillationTrainer):
    """On-policy distillation (Agarwal et al. 2024, arXiv:2306.13649): a teacher judges every token that the student says."""

    def answers(self, asked: list[list[int]]) -> tuple[list[list[int]], Any]:
        """One answer to each list of ids; nobody says how likely."""
        return self._generate_single_turn(asked, None, {}), None

    def _tool_call_loop(self, prompts: list[str], starts: Any, first: Any, completions: Any, *_: Any) -> Any:
        """Tools are called by our own loop, whose prompts are never rendered anew."""
        assert self.tool_use is not None
        played = self.tool_use.play(self, prompts, starts, first, None)
        return [one.said for one in played], completions, [one.ids for one in played], *self._counted(played)
