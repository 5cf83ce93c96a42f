"""What this package offers: the quantizer ``eetq``."""

from __future__ import annotations

from tunesmith import QuantizerSpec, hookimpl

TUNESMITH_API = (1, 0)

SPEC = QuantizerSpec(
    "eetq",
    "tunesmith_eetq.quantizer:EetqQuantizer",
    "Eight bits on a GPU.",
    needs=("kernels",),
    bits=(8,),
    reads=("eetq",),
    stores={8: 8.1},
    kernels={0: ("cutlass",), 8: ("cutlass",)},
    layers="own",
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]
