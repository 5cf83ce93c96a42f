"""The flat keys of DeepSpeed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class DeepspeedOptions:
    """Where DeepSpeed's configuration comes from."""

    deepspeed: Annotated[dict[str, Any] | str | None, "DeepSpeed's configuration: a JSON file or a mapping."] = None
    deepspeed_config: Annotated[dict[str, Any] | None, "Values laid over DeepSpeed's configuration file."] = None
