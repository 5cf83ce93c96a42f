"""What this package offers: the quantizer ``awq``."""

from __future__ import annotations

from tunesmith import QuantizerSpec, hookimpl

TUNESMITH_API = (1, 0)

SPEC = QuantizerSpec(
    "awq",
    "tunesmith_awq.quantizer:AwqQuantizer",
    "Models that AWQ has quantised.",
    needs=("gptqmodel",),
    reads=("awq",),
    layers="own",
    unwritten="it is tunesmith-compressed-tensors that quantises by AWQ, and it is not installed",
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]
