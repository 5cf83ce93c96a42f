"""The flat keys of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class ModelScopeOptions:
    """ModelScope instead of Hugging Face."""

    use_modelscope_hub: Annotated[bool, "Fetch models, and datasets that lie there too, from ModelScope."] = False
    ms_hub_token: Annotated[str | None, "Token for ModelScope."] = None


@dataclass(frozen=True)
class ModelersOptions:
    """Modelers (openMind) instead of Hugging Face."""

    use_openmind_hub: Annotated[bool, "Fetch models, and datasets that lie there too, from Modelers."] = False
    om_hub_token: Annotated[str | None, "Token for Modelers."] = None
