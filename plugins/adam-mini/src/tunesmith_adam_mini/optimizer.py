"""Adam-mini's step: Adam whose second moment is one number for each block of a weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from tunesmith.contracts import Optimizer
from tunesmith.runtime.weight_by_weight import WeightByWeight, adam_defaults, adamw, decay

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

#: Names of the layers that make queries and keys, and the number of the configuration that says how many heads they have.
HEADS = {
    "q_proj": "num_attention_heads",
    "query": "num_attention_heads",
    "k_proj": "num_key_value_heads",
    "key": "num_key_value_heads",
}


class AdamMiniOptimizer(Optimizer):
    """One second moment for each head of queries and keys, for each row of other matrices, for a norm as a whole."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def build(self, model: PreTrainedModel, groups: list[dict[str, Any]], arguments: Any) -> torch.optim.Optimizer:
        """Over the groups as they come."""
        blocks = {weight: blocks_of(name, weight, model.config) for name, weight in model.named_parameters()}
        return WeightByWeight(groups, partial(step, blocks), adam_defaults(arguments))


def blocks_of(name: str, weight: torch.Tensor, config: Any) -> int:
    """How many second moments a weight has; 0 means one for each number, as in Adam.

    The partition is that of the paper (Zhang et al. 2024, arXiv:2406.16793, Algorithm 3): heads for queries and keys, output
    neurons for other matrices (tokens, for the embedding and the head), Adam's own for biases.
    """
    *_, module, kind = ("", *name.split("."))
    if weight.ndim < 2:
        return 0 if kind == "bias" else 1
    rows = math.prod(weight.shape[:-1])
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    heads = getattr(text, HEADS.get(module, ""), None) or getattr(text, "num_attention_heads", 0)
    return heads if module in HEADS and heads and rows % heads == 0 else rows


def step(
    blocks: Mapping[torch.Tensor, int],
    weight: torch.Tensor,
    gradient: torch.Tensor,
    state: dict[str, Any],
    group: Mapping[str, Any],
) -> None:
    """``v ← β₂ v + (1 − β₂) mean(g²)`` for each block, then Adam's step with it (arXiv:2406.16793, Algorithm 1)."""
    if not blocks[weight]:
        adamw(weight, gradient, state, group)
        return
    parts = gradient.reshape(blocks[weight], -1)
    if "exp_avg" not in state:
        state |= {"exp_avg": torch.zeros_like(gradient), "square": torch.zeros_like(parts[:, :1]), "steps": 0}
    first, second = group["betas"]
    state["steps"] += 1
    mean = state["exp_avg"].lerp_(gradient, 1 - first)
    square = state["square"].mul_(second).add_(parts.pow(2).mean(1, keepdim=True), alpha=1 - second)
    scale = (square.sqrt() / math.sqrt(1 - second ** state["steps"])).add_(group["eps"]) * (1 - first ** state["steps"])
    decay(weight, group)
    weight.sub_((mean.reshape_as(parts) / scale).reshape_as(weight), alpha=group["lr"])
