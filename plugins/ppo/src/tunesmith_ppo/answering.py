"""The policy's answers to prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tunesmith.runtime.precision import autocast
from tunesmith.runtime.session import Session


class Answerer:
    """Answers prompts with a run's own sampling and stop tokens.

    :ivar stops: the ids that end an answer; one of them is an answer's last token, unless it is cut off.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.config = session.generation_config
        ends = self.config.eos_token_id
        self.stops = frozenset([ends] if isinstance(ends, int) else ends or ())

    def answer(self, model: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Token ids of one answer to each prompt, its stop token included."""
        plan, pad, device = self.session.plan, self.session.tokenizer.pad_token_id, self.session.args.device
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(one)) + list(one) for one in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts], device=device)
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), autocast(plan, self.session.backend):
                found = model.generate(
                    input_ids=ids, attention_mask=mask, generation_config=self.config, use_cache=plan["use_kv_cache"]
                )
        finally:
            model.train(was_training)
        return [self._cut(row) for row in found[:, longest:].tolist()]

    def text(self, answer: Sequence[int]) -> str:
        """What an answer says, without its stop token."""
        words = answer[:-1] if answer and answer[-1] in self.stops else answer
        said: str = self.session.tokenizer.decode(list(words), skip_special_tokens=False)
        return said

    def _cut(self, answer: list[int]) -> list[int]:
        end = next((at for at, one in enumerate(answer) if one in self.stops), None)
        return answer if end is None else answer[: end + 1]
