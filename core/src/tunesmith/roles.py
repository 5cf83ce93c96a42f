"""The roles that several stages share, and the flat keys that say which models play them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Literal

from tunesmith.errors import Problem
from tunesmith.options import Range
from tunesmith.specs import POLICY, Role

if TYPE_CHECKING:
    from tunesmith.plan import Plan

__all__ = ["POLICY", "REFERENCE", "REWARD", "ReferenceOptions", "RewardFunctionOptions", "RewardModelOptions"]

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
    reward_model_timeout: Annotated[float, "Seconds that a reward model at an address may take.", Range(above=0)] = 60.0


@dataclass(frozen=True)
class RewardFunctionOptions:
    """Functions from plugins that rate answers."""

    reward_funcs: Annotated[tuple[str, ...], "Names of reward functions whose weighted scores are added up."] = ()
    reward_weights: Annotated[tuple[float, ...], "Weight of each reward function; nothing means 1 for each."] = ()


def weight_problems(plan: Plan) -> Iterator[Problem]:
    """What does not fit in the weights of reward functions."""
    names, weights = plan["reward_funcs"], plan["reward_weights"]
    if weights and len(weights) != len(names):
        what = f"reward_weights holds {len(weights)} weights, and reward_funcs {len(names)} names"
        yield Problem(plan.settings["reward_weights"].origin, what, "Give one weight to each function.")


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
