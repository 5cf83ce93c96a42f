"""The roles that several stages share, and the flat keys that say which models play them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Literal

from tunesmith.options import Range
from tunesmith.specs import POLICY, Role

__all__ = ["POLICY", "REFERENCE", "REWARD", "ReferenceOptions", "RewardModelOptions"]

#: What ``reward_model_type`` may be → what ``reward_model`` names then.
_KINDS: dict[str, Literal["model", "adapter", "address"]] = json.loads(
    resources.files("tunesmith").joinpath("reward_kinds.json").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class ReferenceOptions:
    """The model that the policy is held near to."""

    ref_model: Annotated[str | None, "Reference model, where it is not the model itself as it starts."] = None
    ref_model_adapters: Annotated[tuple[str, ...], "Adapters of the reference model."] = ()
    ref_model_quantization_bit: Annotated[int | None, "Load the reference model in this many bits.", Range(least=1, most=8)] = (
        None
    )


@dataclass(frozen=True)
class RewardModelOptions:
    """The model that rates answers."""

    reward_model: Annotated[str | None, "Reward model: folder, adapter or address."] = None
    reward_model_adapters: Annotated[tuple[str, ...], "Adapters of the reward model."] = ()
    reward_model_quantization_bit: Annotated[int | None, "Load the reward model in this many bits.", Range(least=1, most=8)] = (
        None
    )
    reward_model_type: Annotated[
        Literal[tuple(_KINDS)],  # type: ignore[valid-type]
        "What reward_model names: an adapter on the model that learns, a whole model, or an address.",
    ] = next(iter(_KINDS))


REFERENCE = Role("reference", "ref_model", "ref_model_adapters", "ref_model_quantization_bit", as_started=True)
REWARD = Role(
    "reward",
    "reward_model",
    "reward_model_adapters",
    "reward_model_quantization_bit",
    head="score",
    kind="reward_model_type",
    kinds=_KINDS,
)
