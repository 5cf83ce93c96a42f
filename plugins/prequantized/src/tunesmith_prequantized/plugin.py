"""What this package offers: the quantizers ``fp8`` and ``mxfp4``, for models that were published in these formats."""

from __future__ import annotations

from tunesmith import QuantizerSpec, hookimpl

TUNESMITH_API = (1, 0)

SPECS = (
    QuantizerSpec(
        "fp8",
        "tunesmith_prequantized.quantizer:Fp8Quantizer",
        "Models published in fp8 with a scale a block (DeepSeek-V3, Qwen3-FP8 …).",
        reads=("fp8", "mxfp8"),
        kernels={0: ("triton",)},
        trains="anything",
    ),
    QuantizerSpec(
        "mxfp4",
        "tunesmith_prequantized.quantizer:Mxfp4Quantizer",
        "Models whose experts were published in MXFP4 (gpt-oss).",
        reads=("mxfp4",),
        kernels={0: ("triton",)},
        packages={0: ("kernels",)},
        trains="anything",
    ),
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """Both formats."""
    return list(SPECS)
