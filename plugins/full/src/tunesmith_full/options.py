"""The flat keys of the tuner ``freeze``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class FreezeOptions:
    """Which of the model's own weights learn while all others stay as they are."""

    freeze_trainable_layers: Annotated[
        int, "How many layers learn: the last n when positive, the first n when negative, none when 0."
    ] = 2
    freeze_trainable_modules: Annotated[
        tuple[str, ...], "What learns inside those layers: names of modules such as mlp or self_attn.q_proj, or all."
    ] = ("all",)
    freeze_extra_modules: Annotated[
        tuple[str, ...] | None, "Modules outside the layers that learn too, such as embed_tokens, norm or lm_head."
    ] = None
    freeze_trainable_weights: Annotated[
        Literal["all", "norms", "biases"],
        "norms or biases: all of these in the whole model learn, and nothing else.",
    ] = "all"
    use_llama_pro: Annotated[bool, "The layers that an expansion added learn, freeze_trainable_layers of them (LLaMA Pro)."] = (
        False
    )
