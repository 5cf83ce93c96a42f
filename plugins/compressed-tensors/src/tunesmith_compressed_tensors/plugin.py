"""What this package offers: the quantizer ``compressed-tensors``."""

from __future__ import annotations

from tunesmith import QuantizerSpec, StackSpec, hookimpl

TUNESMITH_API = (1, 0)

SPEC = QuantizerSpec(
    "compressed-tensors",
    "tunesmith_compressed_tensors.quantizer:CompressedTensorsQuantizer",
    "Models in the formats of compressed-tensors (INT8, W4A16, FP8 …).",
    needs=("compressed_tensors",),
    reads=("compressed-tensors", "compressed_tensors"),
    trains="anything",
    methods={"gptq": (4, 8), "awq": (4,), "fp8": (8,)},
    calibrated=("gptq", "awq"),
    writes_in="llm-compressor",
)

#: It wants older versions of transformers and of compressed-tensors; nothing of ours goes into it.
STACK = StackSpec(
    "llm-compressor",
    "llm-compressor (GPTQ, AWQ, fp8) and the versions that it wants.",
    requirements=("torch==2.13.0", "llmcompressor>=0.14,<0.15"),
    kind="server",
    pins=("transformers>=5.15.0,<=5.17.0", "compressed-tensors==0.19.0"),
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]


@hookimpl
def tunesmith_stacks() -> list[StackSpec]:
    """One stack."""
    return [STACK]
