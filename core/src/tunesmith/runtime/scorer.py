"""A reward model at work: texts in, one number each out. For commands and servers that rate answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunesmith.contracts import Backend
from tunesmith.data.conversation import Conversation, Tokens
from tunesmith.data.tokens import make_encoder
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.collate import Collator
from tunesmith.runtime.loading import load_model, load_tokenizer
from tunesmith.runtime.scores import scores
from tunesmith.runtime.speaking import no_bars
from tunesmith.templates import make_renderer


class Scorer:
    """The policy of a plan as a reward model: its role's head is ``value`` or ``score``.

    :param size: texts that are rated at once.
    :raises TunesmithError: the model rates nothing, or something of it is not here.
    """

    def __init__(self, plan: Plan, plugins: Plugins, *, size: int = 8) -> None:
        wish = plan.models["policy"]
        if wish.head == "lm":
            raise TunesmithError(f"{wish.path} writes texts and rates none.", "Give a reward model: stage: rm")
        self.size = size
        self.backend: Backend = plugins.backends.get(plan.the("backends").wanted).load()(plan)
        self.tokenizer = load_tokenizer(plan, wish)
        with no_bars():
            self.model = load_model(plan, plugins, wish, self.backend, training=False)
        self.model.config.pad_token_id = self.tokenizer.pad_token_id  # a classifier finds the last word by it
        self.renderer = make_renderer(plan, plugins, Path(self.tokenizer.name_or_path))
        self._encoder = make_encoder(plan, self.renderer)

    def rate(self, conversations: Sequence[Conversation]) -> list[float]:
        """Rate the last answer of each conversation.

        :raises TunesmithError: the template cannot express one, or one is longer than the model's context.
        """
        return self.rate_ids([self._encoder.ids(self.renderer.render(conversation)) for conversation in conversations])

    def rate_ids(self, rows: Sequence[Any]) -> list[float]:
        """Rate rows of token ids, each a whole text."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        longest = max(map(len, rows), default=0)
        if limit and longest > limit:
            raise TunesmithError(f"A text has {longest} tokens; the reward model reads {limit}.", "Shorten it.")
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found = [0.0] * len(rows)
        for at in range(0, len(order), self.size):
            batch = order[at : at + self.size]
            for number, score in zip(batch, self._rate([rows[i] for i in batch]), strict=True):
                found[number] = score
        return found

    def _rate(self, rows: Sequence[Any]) -> list[float]:
        collate = Collator(self.tokenizer.pad_token_id)
        tokens = [{"tokens": Tokens(np.asarray(row), np.zeros(len(row), np.float32))} for row in rows]
        device = next(self.model.parameters()).device
        batch = {name: tensor.to(device) for name, tensor in collate(tokens).items()}
        with torch.inference_mode():
            rated: list[float] = scores(self.model, batch).tolist()
        return rated
