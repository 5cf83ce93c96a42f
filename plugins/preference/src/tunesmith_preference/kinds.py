"""The preference losses by name, and what each needs. Known while planning; the arithmetic is in ``losses``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
