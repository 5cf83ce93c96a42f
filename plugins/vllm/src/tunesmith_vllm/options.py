"""The flat keys of the engines ``vllm`` and ``vllm-cpu``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class VllmOptions:
    """The server of vLLM."""

    vllm_maxlen: Annotated[int, "Tokens that a sequence may have, prompt and answer together.", Range(least=1)] = 4096
    vllm_gpu_util: Annotated[float, "Share of the device's memory to take.", Range(above=0, most=1)] = 0.7
    vllm_enforce_eager: Annotated[bool, "Do without recorded graphs."] = False
    vllm_max_lora_rank: Annotated[Literal[1, 8, 16, 32, 64, 128, 256, 320, 512], "Largest rank of an adapter."] = 32
    vllm_config: Annotated[dict[str, Any] | None, "Further engine arguments, by vLLM's names of them."] = None
    vllm_start_timeout: Annotated[int, "Seconds that its server may take to be ready.", Range(least=1)] = 900
