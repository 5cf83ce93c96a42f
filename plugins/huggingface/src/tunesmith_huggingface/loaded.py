"""What a started engine holds, and how much of it may run at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from tunesmith.contracts import Backend
from tunesmith.data.tokens import Encoder
from tunesmith.runtime.scores import unwrapped

from tunesmith_huggingface.caches import can_join, new_cache, size_of
from tunesmith_huggingface.loop import Limits, Loop, Server
from tunesmith_huggingface.schemas import Schemas

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROWS = 32
SHARE = 0.5
"""Of the memory that is free once the model is there: what keys and values may take."""
PROMPT_TOKENS = 2048
"""Prompts of so many tokens are read in one go, while running rows wait."""

HARMLESS = frozenset(
    {
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version", "use_cache"),
        *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        *("num_beams", "num_beam_groups", "length_penalty", "early_stopping", "repetition_penalty", "num_return_sequences"),
        *("max_length", "max_new_tokens", "output_attentions", "output_hidden_states", "return_dict_in_generate"),
        *("chat_format", "trust_remote_code", "_from_model_config"),
    }
)
"""Settings of a ``generation_config.json`` that say how to sample, which requests decide, or nothing about scores."""


@dataclass(frozen=True)
class Loaded:
    """What ``start`` brought in.

    :param servers: name of an adapter → the model that answers with it; ``None`` is the model as loaded.
    :param head: what kind of model that is, as :class:`~tunesmith.plan.ModelWish` has it.
    :param ends: token ids that end an answer.
    :param hidden: token ids that are not shown.
    """

    servers: Mapping[str | None, Server]
    head: str
    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder
    backend: Backend
    ends: frozenset[int]
    hidden: frozenset[int]
    stop_strings: tuple[str, ...]
    schemas: Schemas
    loop: Loop

    @property
    def model(self) -> PreTrainedModel:
        """The model as loaded."""
        return self.servers[None].model

    @property
    def context(self) -> int | None:
        """How many tokens the model can see, where its configuration says."""
        limit: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit


def vocabulary_of(model: PreTrainedModel) -> int:
    """How many tokens the model has scores for."""
    size: int = model.config.get_text_config().vocab_size
    return size


def server_of(model: PreTrainedModel, pad: int, *, use_cache: bool) -> Server:
    """``model`` for the loop. ``pad``: the id that fills rows up; masked, so any will do where the tokenizer has none."""
    joins = use_cache and _joins(model)
    return Server(unwrapped(model) if joins else model, joins, pad, use_cache)


def _joins(model: Any) -> bool:
    """Whether rows can join while others run: layers that can be cut and stacked, and nothing that only ``generate`` does."""
    plain = unwrapped(model)
    prompts = any(getattr(config, "is_prompt_learning", False) for config in getattr(model, "peft_config", {}).values())
    asks_for = {name for name, value in plain.generation_config.to_diff_dict().items() if value is not None}
    ordinary = not (prompts or plain.config.is_encoder_decoder or plain.is_remote_code() or asks_for - HARMLESS)
    return ordinary and can_join(plain.config)


def limits_of(server: Server, backend: Backend) -> Limits:
    """As many rows as are asked for, and tokens as fit into the memory that is free.

    What a token takes is measured, for no two kinds of model say it alike. Padding may take half as much again.
    """
    if not server.joins:
        return Limits(ROWS, 0, PROMPT_TOKENS)
    cache, tokens = new_cache(server.model.config), 8
    device = next(server.model.parameters()).device
    with torch.inference_mode():
        server.model(input_ids=torch.full((1, tokens), server.pad, device=device), past_key_values=cache, use_cache=True)
    fit = int(backend.memory().free * SHARE / 1.5 / (size_of(cache) / tokens))
    return Limits(ROWS, max(fit, 1), PROMPT_TOKENS)
