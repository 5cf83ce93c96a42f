"""Models that were published in fp8 and MXFP4, read by transformers."""

from __future__ import annotations

from typing import ClassVar

from tunesmith.runtime.packing import AlreadyPacked


class Fp8Quantizer(AlreadyPacked):
    """fp8 (e4m3) weights with a scale for each block of 128 × 128 (DeepSeek-AI 2024, arXiv:2412.19437, §3.3)."""

    layers: ClassVar[frozenset[str]] = frozenset({"FP8Linear", "FP8Experts"})


class Mxfp4Quantizer(AlreadyPacked):
    """Four-bit floating point, 32 numbers to a power of two (OCP Microscaling Formats 1.0, §5.3)."""

    layers: ClassVar[frozenset[str]] = frozenset({"Mxfp4GptOssExperts"})
