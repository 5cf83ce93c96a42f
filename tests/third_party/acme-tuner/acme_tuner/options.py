from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class ScaleOptions:
    scale_target: Annotated[tuple[str, ...], "Names of the linear layers whose outputs are scaled."] = ("q_proj", "v_proj")
