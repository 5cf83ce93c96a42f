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
    unwritten="gptqmodel 7.7, which quantises by AWQ, wants torch 2.14 and another version of pillow than this set has",
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]
