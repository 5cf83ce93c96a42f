"""What this package offers: the quantizer ``compressed-tensors``."""

from __future__ import annotations

from tunesmith import QuantizerSpec, hookimpl

TUNESMITH_API = (1, 0)

SPEC = QuantizerSpec(
    "compressed-tensors",
    "tunesmith_compressed_tensors.quantizer:CompressedTensorsQuantizer",
    "Models in the formats of compressed-tensors (INT8, W4A16, FP8 …).",
    needs=("compressed_tensors",),
    reads=("compressed-tensors", "compressed_tensors"),
    trains="anything",
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]
