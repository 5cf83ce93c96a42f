"""Models that AWQ has quantised, read by transformers with gptqmodel."""

from __future__ import annotations

from typing import ClassVar

from tunesmith.runtime.packing import AlreadyPacked


class AwqQuantizer(AlreadyPacked):
    """AWQ (Lin et al. 2023, arXiv:2306.00978): gptqmodel's layers."""

    layers: ClassVar[frozenset[str]] = frozenset({"BaseQuantLinear"})
