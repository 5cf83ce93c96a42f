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
    unwritten="it is tunesmith-compressed-tensors that quantises by GPTQ, and it is not installed",
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]
