"""Very small random models made on the spot, for conformance suites: nothing is read, written or downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3MoeConfig, Qwen3MoeForCausalLM

VOCABULARY = 128

#: Wide enough that two models with different weights answer differently.
SPREAD = 0.15

SMALL: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": SPREAD,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def tiny_llama(seed: int = 0, **config: Any) -> PreTrainedModel:
    """A dense decoder of two layers, 64 wide, in float32; ``config`` overrides its sizes. The same seed, the same weights."""
    return _made(LlamaForCausalLM, LlamaConfig(**{**SMALL, **config}), seed)


def tiny_moe(seed: int = 0, **config: Any) -> PreTrainedModel:
    """The same with a mixture of four experts in each layer, two of which answer for a token."""
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16}
    return _made(Qwen3MoeForCausalLM, Qwen3MoeConfig(**{**SMALL, **experts, **config}), seed)


def _made(kind: type[PreTrainedModel], config: Any, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config).eval()


def tiny_batch(seed: int = 0, rows: int = 2, length: int = 12) -> dict[str, torch.Tensor]:
    """Random ids with every token to be learned: ``input_ids``, ``attention_mask`` and ``labels``, each (rows, length)."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (rows, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}


def logits(model: Any, batch: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
    """What a model answers to ``batch`` in evaluation mode, in float32 on the CPU: (rows, length, vocabulary)."""
    given = tiny_batch(seed=7) if batch is None else batch
    was_training = model.training
    model.eval()
    with torch.no_grad():
        answer: torch.Tensor = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
    model.train(was_training)
    return answer.float().cpu()
