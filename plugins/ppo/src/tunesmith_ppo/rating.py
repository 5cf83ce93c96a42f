"""What answers are worth: by a reward model in memory, by one at an address, by functions, or by several of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tunesmith.data.conversation import Prompt
from tunesmith.runtime.precision import autocast
from tunesmith.runtime.reward_address import ask_address
from tunesmith.runtime.rewarding import RewardFunctions
from tunesmith.runtime.scores import scores
from tunesmith.runtime.session import Session

from tunesmith_ppo.experience import Row, batch_of
from tunesmith_ppo.options import PpoOptions


@dataclass(frozen=True)
class Rated:
    """Scores of answers, in float32 on the processor: their sum (rows,), and each one's part by name."""

    total: torch.Tensor
    parts: dict[str, torch.Tensor]


class Rater:
    """Rates the answers of a run by all that the configuration names."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.options = session.plan.options(PpoOptions)
        self.functions = RewardFunctions(session.plan, session.plugins)
        if "reward" in session.models:
            session.models["reward"].config.pad_token_id = session.tokenizer.pad_token_id  # a classifier finds the end by it

    def rate(self, rows: Sequence[Row], prompts: Sequence[Prompt], answers: Sequence[str]) -> Rated:
        """Rate answers.

        :param answers: their texts, without stop tokens.
        :raises TunesmithError: the address does not answer as it should, or a function is at fault.
        """
        parts: dict[str, torch.Tensor] = {}
        total = torch.zeros(len(rows))
        if "reward" in self.session.models:
            parts["model"] = self._by_model(rows)
        elif self.options.reward_model:
            texts = self.session.tokenizer.batch_decode([row["ids"] for row in rows], skip_special_tokens=False)
            parts["model"] = ask_address(self.options.reward_model, texts, self.options.reward_model_timeout)
        total += parts.get("model", 0.0)
        if len(self.functions):
            renderer = self.session.renderer
            assert renderer is not None
            found = self.functions.score(prompts, [renderer.parse_reply(answer) for answer in answers])
            parts |= dict(zip(self.functions.names, found.T, strict=True))
            total += self.functions.total(found)
        return Rated(total, parts)

    def _by_model(self, rows: Sequence[Row]) -> torch.Tensor:
        session, size = self.session, self.session.args.per_device_train_batch_size
        found = []
        for at in range(0, len(rows), size):
            batch = batch_of(rows[at : at + size], session.tokenizer.pad_token_id)
            batch = {name: tensor.to(session.args.device) for name, tensor in batch.items()}
            with torch.no_grad(), autocast(session.plan, session.backend), session.answering_as("reward") as model:
                found.append(scores(model, batch).float().cpu())
        return torch.cat(found)
