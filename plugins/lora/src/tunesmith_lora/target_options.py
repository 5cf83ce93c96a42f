"""The flat keys that all adapters beside layers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class AdapterOptions:
    """What learns beside the adapter, and what becomes of the adapters that were given."""

    additional_target: Annotated[
        tuple[str, ...] | None, "Modules that learn in full and are saved with the adapter, such as embed_tokens or lm_head."
    ] = None
    create_new_adapter: Annotated[bool, "Merge the given adapters and start a new one, instead of going on with the last."] = (
        False
    )


@dataclass(frozen=True)
class TargetOptions(AdapterOptions):
    """Which layers get an adapter."""

    lora_target: Annotated[
        tuple[str, ...],
        "Layers that get an update: names such as q_proj, or all (every linear layer but the output head), "
        "or re: and a regular expression that a whole dotted name has to match.",
    ] = ("all",)
