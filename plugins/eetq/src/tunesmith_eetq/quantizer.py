"""Weights in eight bits by the kernels of EETQ, through transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from transformers import EetqConfig
from tunesmith.runtime.packing import AlreadyPacked

if TYPE_CHECKING:
    import torch
    from tunesmith.plan import ModelWish


class EetqQuantizer(AlreadyPacked):
    """Whole numbers of eight bits with a scale for each row, multiplied with half-precision inputs on a GPU."""

    layers: ClassVar[frozenset[str]] = frozenset({"EetqLinear"})

    def arguments(self, wish: ModelWish, dtype: torch.dtype) -> dict[str, Any]:
        """transformers' own configuration, unless the model has brought it."""
        return {"quantization_config": EetqConfig("int8")} if wish.bits else super().arguments(wish, dtype)
