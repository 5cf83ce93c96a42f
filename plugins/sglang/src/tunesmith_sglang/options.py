"""The flat keys of the engine ``sglang``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class SglangOptions:
    """The server of SGLang."""

    sglang_maxlen: Annotated[int, "Tokens that a sequence may have, prompt and answer together.", Range(least=1)] = 4096
    sglang_mem_fraction: Annotated[float, "Share of the device's memory to take.", Range(above=0, most=1)] = 0.7
    sglang_tp_size: Annotated[int, "Devices that share the model; -1 means all.", Range(least=-1)] = -1
    sglang_lora_backend: Annotated[Literal["triton", "flashinfer", "csgmv", "torch_native"], "Kernels for adapters."] = "triton"
    sglang_config: Annotated[dict[str, Any] | None, "Further server arguments, by SGLang's names of them."] = None
    sglang_start_timeout: Annotated[int, "Seconds that its server may take to be ready.", Range(least=1)] = 900
