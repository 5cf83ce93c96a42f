"""The flat keys of the accelerators of Liger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class LigerOptions:
    """Liger's fused kernels. Which of them is said by transformers' own key ``liger_kernel_config``."""

    enable_liger_kernel: Annotated[bool, "Use Liger's fused kernels in this model; liger_kernel_config says which."] = False


@dataclass(frozen=True)
class LigerPreferenceOptions:
    """Liger's chunked losses."""

    liger_preference_loss: Annotated[bool, "Compute losses of preferences by Liger, one pair at a time."] = False
