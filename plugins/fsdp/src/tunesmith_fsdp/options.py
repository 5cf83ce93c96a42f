"""The flat keys of FSDP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class FsdpOptions:
    """Whether weights are shared out, and how."""

    fsdp: Annotated[bool | str | None, "Share weights, gradients and optimizer out over processes (FSDP2)."] = None
    fsdp_config: Annotated[dict[str, Any] | str | None, "Settings of FSDP: a JSON or YAML file, or a mapping."] = None
    parallelism_config: Annotated[
        dict[str, Any] | None, "dp_shard_size × dp_replicate_size: parts of a copy, and copies of the model."
    ] = None
