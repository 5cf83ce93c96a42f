"""A small model with random weights, made from a family's own configuration class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from tunesmith.runtime.tiny.families import Family, Sizes

#: Configuration key → the size it takes, in every family.
SHARED = {
    "vocab_size": "vocab",
    "hidden_size": "hidden",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "intermediate_size": "intermediate",
    "max_position_embeddings": "context",
}


def make_config(family: Family, sizes: Sizes, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """The configuration of a small model, with the token ids of its tokenizer."""
    values: dict[str, Any] = {key: getattr(sizes, size) for key, size in {**SHARED, **family.sized}.items()}
    ends = tokenizer.convert_tokens_to_ids(list(family.stop))
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id}
    values |= {**family.fixed, **ids}
    if family.sees:
        marks = {key: tokenizer.convert_tokens_to_ids(token) for key, token in family.marks.items()}
        tied = {"tie_word_embeddings": bool(values.get("tie_word_embeddings"))}
        values = {"text_config": values, "vision_config": _vision(family, sizes), **marks, **ids, **tied}
    made: PreTrainedConfig = getattr(transformers, family.config)(**values)
    return made


def _vision(family: Family, sizes: Sizes) -> dict[str, Any]:
    """The part for images; what is written as the name of a size takes that size."""
    return {key: getattr(sizes, value[1:]) if str(value).startswith("=") else value for key, value in family.vision.items()}


def make_model(family: Family, sizes: Sizes, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Random weights in float32 from ``seed``; the process's own random state is left as it was."""
    config = make_config(family, sizes, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = AutoModelForImageTextToText if family.sees else AutoModelForCausalLM
        model: PreTrainedModel = kind.from_config(config, dtype=torch.float32)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids(list(family.stop)),
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars for a megabyte; its setting is restored."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
