"""The keys that this package owns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class NpuOptions:
    """How operators reach the device."""

    npu_jit_compile: Annotated[bool, "Compile operators for the shapes of this run; off, ready-made ones are used."] = False


@dataclass(frozen=True)
class FusedOptions:
    """Operators of torch-npu in place of several of torch's."""

    npu_fused_operators: Annotated[bool, "Use torch-npu's fused norm, rotary embedding, SwiGLU and attention."] = False
