"""What this package offers: the quantizer ``aqlm``."""

from __future__ import annotations

from tunesmith import QuantizerSpec, hookimpl

TUNESMITH_API = (1, 0)

SPEC = QuantizerSpec(
    "aqlm",
    "tunesmith_aqlm.quantizer:AqlmQuantizer",
    "Models that AQLM has quantised, in about two bits.",
    needs=("aqlm",),
    reads=("aqlm",),
    layers="own",
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]
