"""The flat keys of the stages ``dpo`` and ``kto``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range
from tunesmith.roles import ReferenceOptions

from tunesmith_preference.kinds import KINDS


@dataclass(frozen=True)
class PreferenceOptions(ReferenceOptions):
    """What both stages share."""

    pref_beta: Annotated[float, "Strength of the pull towards the reference model.", Range(above=0)] = 0.1
    pref_ftx: Annotated[float, "Weight of the plain loss of preferred answers beside the preference loss.", Range(least=0)] = (
        0.0
    )
    precompute_ref_log_probs: Annotated[
        bool, "Ask the reference model once, before learning starts, and keep what it says; no second model stays in memory."
    ] = False
    disable_dropout: Annotated[bool, "Switch dropout off, as the reference model has none."] = True


@dataclass(frozen=True)
class DpoOptions(PreferenceOptions):
    """How two answers are compared."""

    pref_loss: Annotated[
        tuple[Literal[tuple(KINDS)], ...],  # type: ignore[valid-type]
        "Kind of preference loss; of several, the weighted sum.",
    ] = ("sigmoid",)
    pref_loss_weights: Annotated[tuple[float, ...], "Weights of several preference losses; nothing means 1 for each."] = ()
    pref_bco_weight: Annotated[float, "Weight of the BCO loss beside the preference loss.", Range(least=0)] = 0.0
    dpo_label_smoothing: Annotated[float, "Share of pairs that may be the wrong way round.", Range(least=0, below=0.5)] = 0.0
    simpo_gamma: Annotated[float, "SimPO: margin that the better answer is to have.", Range(least=0)] = 0.5
    ld_alpha: Annotated[
        float | None, "LD-DPO: weight of the words beyond the shorter answer's length.", Range(least=0, most=1)
    ] = None
    discopop_tau: Annotated[float, "DiscoPOP: temperature of the blend.", Range(above=0)] = 0.05


@dataclass(frozen=True)
class KtoOptions(PreferenceOptions):
    """How answers that were liked, or not, are learned from."""

    kto_loss: Annotated[
        Literal["kto", "apo_zero_unpaired"], "Kind of loss; apo_zero_unpaired has no reference point to estimate."
    ] = "kto"
    kto_chosen_weight: Annotated[float, "Weight of answers that were liked.", Range(least=0)] = 1.0
    kto_rejected_weight: Annotated[float, "Weight of answers that were not.", Range(least=0)] = 1.0
