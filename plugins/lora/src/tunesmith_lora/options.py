"""The flat keys of the tuner ``lora``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tunesmith.options import Range

from tunesmith_lora.target_options import TargetOptions

#: What a regular expression in ``lora_target`` begins with.
EXPRESSION = "re:"
#: Folder, inside that of a plain conversion, of the adapter to go on training from.
UNCONVERTED = "unconverted"
#: Starts that move a part of the frozen weights into the update.
MOVING = ("pissa", "olora", "corda", "lora_ga")
#: Starts that look at the data first.
DATA_DRIVEN = ("eva", "corda", "lora_ga")


def expression(target: Sequence[str]) -> str | None:
    """The regular expression in ``lora_target``; ``None`` where it lists names.

    A comma in an expression was read as a border between names, so the pieces are joined again.
    """
    return ",".join(target).removeprefix(EXPRESSION).strip() if target and target[0].startswith(EXPRESSION) else None


@dataclass(frozen=True)
class LoraOptions(TargetOptions):
    """Size, place and kind of the low-rank update."""

    lora_rank: Annotated[int, "Size of the low-rank update.", Range(least=1)] = 8
    lora_alpha: Annotated[int | None, "The update is scaled by alpha / rank; nothing given means twice the rank."] = None
    lora_dropout: Annotated[float, "Share of the update's input that is dropped while learning.", Range(least=0, below=1)] = 0.0
    lora_target_parameters: Annotated[
        tuple[str, ...] | None,
        "Weights without a layer of their own that get an update too, as the fused experts of a mixture of experts: "
        "names such as mlp.experts.down_proj, or all.",
    ] = None
    lora_rank_pattern: Annotated[dict[str, Any] | None, "Another rank for some layers, by name: {q_proj: 16}."] = None
    lora_alpha_pattern: Annotated[dict[str, Any] | None, "Another alpha for some layers, by name: {q_proj: 32}."] = None
    use_rslora: Annotated[bool, "Scale the update by alpha / √rank (rank-stabilised)."] = False
    use_dora: Annotated[bool, "Learn the length of each weight column apart from its direction (DoRA)."] = False
    loraplus_lr_ratio: Annotated[
        float | None, "Learning rate of the update's second matrix over that of its first (LoRA+).", Range(above=0)
    ] = None
    loraplus_lr_embedding: Annotated[
        float, "LoRA+: learning rate of the second matrix of an embedding's update.", Range(above=0)
    ] = 1e-06
    pissa_init: Annotated[bool, "Start from the principal singular vectors of the weights (PiSSA)."] = False
    pissa_iter: Annotated[
        int, "PiSSA: iterations of the fast singular value decomposition; -1 is the exact one.", Range(least=-1)
    ] = 16
    pissa_convert: Annotated[
        bool, "PiSSA: save a plain adapter of twice the rank, which fits the unchanged model and any program."
    ] = False
    lora_init: Annotated[
        Literal["default", "gaussian", "orthogonal", "olora", "pissa", "mica", "eva", "corda", "lora_ga", "loftq"],
        "How the update starts; eva, corda and lora_ga look at the data first, loftq makes up for what quantising lost.",
    ] = "default"
    lora_init_samples: Annotated[int, "Rows that eva, corda and lora_ga look at.", Range(least=1)] = 64
    lora_eva_rho: Annotated[float, "EVA: how far ranks may move between layers; 1 keeps them equal.", Range(least=1)] = 2.0
    lora_eva_tau: Annotated[float, "EVA: how still directions must stand, as a cosine.", Range(above=0, below=1)] = 0.99
    lora_eva_whiten: Annotated[bool, "EVA: divide each direction by the root of its singular value."] = False
    lora_corda_method: Annotated[
        Literal["ipm", "kpm"], "CorDA: learn in the directions that the data uses (ipm), or keep what it knows (kpm)."
    ] = "ipm"
    lora_ga_direction: Annotated[
        Literal["ArB2r", "A2rBr", "ArBr", "random"], "LoRA-GA: which of the gradient's directions go to which matrix."
    ] = "ArB2r"
    lora_ga_scale: Annotated[Literal["stable", "weight_svd", "gd_scale", "unit"], "LoRA-GA: how large the start is."] = "stable"
    lora_ga_stable_gamma: Annotated[int, "LoRA-GA: the larger, the smaller the start that is stable.", Range(least=1)] = 16
    lora_layer_replication: Annotated[
        tuple[str, ...] | None,
        "Repeat layers, each with an update of its own, over shared weights: 0-16,8-24 is layers 0 to 15, then 8 to 23.",
    ] = None

    @property
    def method(self) -> str:
        """How the update starts, by whichever key says so."""
        return "pissa" if self.pissa_init else self.lora_init

    @property
    def replication(self) -> list[tuple[int, int]] | None:
        """Ranges of layers, each without its end.

        :raises ValueError: one is not written as two numbers.
        """
        if self.lora_layer_replication is None:
            return None
        return [(int(first), int(end)) for first, _, end in (one.partition("-") for one in self.lora_layer_replication)]
