"""What this package offers: the quantizer ``gptq``."""

from __future__ import annotations

from tunesmith import QuantizerSpec, hookimpl

TUNESMITH_API = (1, 0)

SPEC = QuantizerSpec(
    "gptq",
    "tunesmith_gptq.quantizer:GptqQuantizer",
    "Models that GPTQ has quantised.",
    needs=("gptqmodel", "optimum"),
    reads=("gptq",),
    layers="own",
    unwritten="gptqmodel 7.7, which quantises by GPTQ, wants torch 2.14 and another version of pillow than this set has",
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]
