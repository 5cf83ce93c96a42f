"""What a model's ``config.json`` says about its experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Names that kinds of models have for one thing.
COUNT = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts")
WIDTH = ("moe_intermediate_size", "expert_intermediate_size", "intermediate_size")
#: By bits: what both sizes of an expert have to be a multiple of, as the kernel's blocks are.
BLOCKS = {16: 32, 8: 64, 4: 128}
#: By bits: what the kernel does with an expert's activation and bias is fixed.
ACTIVATIONS = ("silu", "swish")


@dataclass(frozen=True)
class ExpertFacts:
    """Experts of one layer: how many, how many answer for a token, their width, the model's; and the layers that have some."""

    kind: str
    count: int
    chosen: int
    width: int
    hidden: int
    layers: int
    activation: str

    @property
    def numbers(self) -> int:
        """How many numbers the experts of all layers hold."""
        return 3 * self.count * self.width * self.hidden * self.layers

    def held(self, bits: int) -> int:
        """Bytes that the kernel holds them in, with the scale of each row."""
        scales = 0 if bits == 16 else 4 * self.count * (2 * self.width + self.hidden) * self.layers
        return self.numbers * bits // 8 + scales


def facts_of(config: Mapping[str, Any]) -> ExpertFacts | None:
    """The facts in a ``config.json``; ``None`` where the model has no experts."""
    config = {**config, **config.get("text_config", {})}
    count, chosen, width = (_first(config, names) for names in (COUNT, CHOSEN, WIDTH))
    if not count or not chosen or not width or "hidden_size" not in config:
        return None
    return ExpertFacts(
        kind=str(config.get("model_type", "")),
        count=count,
        chosen=chosen,
        width=width,
        hidden=int(config["hidden_size"]),
        layers=_sparse_layers(config),
        activation=str(config.get("hidden_act", "silu")),
    )


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)


def _sparse_layers(config: Mapping[str, Any]) -> int:
    layers = range(int(config.get("num_hidden_layers", 0)))
    dense = set(config.get("mlp_only_layers") or ())
    first, step = int(config.get("first_k_dense_replace") or 0), int(config.get("decoder_sparse_step") or 1)
    return sum(layer >= first and layer not in dense and (layer + 1) % step == 0 for layer in layers)
