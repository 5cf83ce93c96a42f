"""Models that GPTQ has quantised, read by transformers with gptqmodel and optimum."""

from __future__ import annotations

from typing import ClassVar

from tunesmith.runtime.packing import AlreadyPacked


class GptqQuantizer(AlreadyPacked):
    """GPTQ (Frantar et al. 2022, arXiv:2210.17323): gptqmodel's layers."""

    layers: ClassVar[frozenset[str]] = frozenset({"BaseQuantLinear"})
