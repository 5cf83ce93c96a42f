"""The flat keys of the stages ``dpo`` and ``kto``, and the preference losses by name; their arithmetic is in ``losses``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range
from tunesmith.roles import ReferenceOptions


@dataclass(frozen=True)
class LossKind:
    """One loss.

    :param reference: it compares with a reference model.
    :param smooths: it makes use of ``dpo_label_smoothing``.
    :param whole: a pair's loss depends on the other pairs of its step.
    """

    reference: bool = True
    smooths: bool = False
    whole: bool = False


KINDS: Mapping[str, LossKind] = {
    "sigmoid": LossKind(smooths=True),
    "hinge": LossKind(),
    "ipo": LossKind(),
    "kto_pair": LossKind(whole=True),
    "orpo": LossKind(reference=False),
    "simpo": LossKind(reference=False),
    "exo_pair": LossKind(smooths=True),
    "nca_pair": LossKind(),
    "robust": LossKind(smooths=True),
    "bco_pair": LossKind(),
    "sppo_hard": LossKind(),
    "aot": LossKind(smooths=True, whole=True),
    "aot_unpaired": LossKind(smooths=True, whole=True),
    "apo_zero": LossKind(),
    "apo_down": LossKind(),
    "discopop": LossKind(),
    "sft": LossKind(reference=False),
    "sigmoid_norm": LossKind(),
}


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
