"""Rotary positions beyond the length a model was trained at: what its configuration has to say. Without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import TunesmithError


@dataclass(frozen=True)
class Stretch:
    """``parameters`` and ``longest`` belong into ``config.json`` as ``rope_parameters`` and ``max_position_embeddings``."""

    kind: str
    factor: float
    parameters: Mapping[str, Any]
    longest: int


def stretch(config: Mapping[str, Any], kind: str, length: int) -> Stretch:
    """Stretch the positions of a model to at least ``length`` tokens, by a whole factor.

    ``linear`` is Chen et al. 2023 (arXiv:2306.15595), ``yarn`` Peng et al. 2023 (arXiv:2309.00071), ``llama3`` what Llama 3.1
    does. ``dynamic`` stretches a text as it grows past the old length, which therefore stays in the configuration.

    :param config: of the language model, as ``config.json`` has it.
    :raises TunesmithError: there is nothing to stretch, or it cannot be done.
    """
    now = config.get("max_position_embeddings")
    own = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    if any(isinstance(part, Mapping) for part in own.values()):
        raise TunesmithError(
            f"rope_scaling: {kind}: this model has positions of its own for each kind of layer.", "Leave it out."
        )
    if (used := own.get("rope_type", own.get("type", "default"))) != "default":
        raise TunesmithError(f"rope_scaling: {kind}: this model's positions are stretched already ({used}).", "Leave it out.")
    if not now or not ("rope_theta" in own or "rope_theta" in config):
        raise TunesmithError(f"rope_scaling: {kind}: this model has no rotary positions.", "Leave it out.")
    if length <= now:
        what = f"rope_scaling: {kind} has nothing to stretch: cutoff_len is {length}, and the model reads {now} tokens."
        raise TunesmithError(what, f"Write cutoff_len: above {now}, or leave rope_scaling out.")
    factor = float(math.ceil(length / now))
    parameters = {**own, "rope_theta": own.get("rope_theta", config.get("rope_theta")), "rope_type": kind, "factor": factor}
    if kind in ("yarn", "llama3"):
        parameters["original_max_position_embeddings"] = now
    if kind == "llama3":
        parameters |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return Stretch(kind, factor, parameters, now if kind == "dynamic" else int(now * factor))
