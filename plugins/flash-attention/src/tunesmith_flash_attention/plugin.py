"""What this package offers: the attention kernels behind ``flash_attn: fa2``, ``fa3`` and ``flex``."""

from __future__ import annotations

from tunesmith import AcceleratorSpec, Switch, hookimpl

TUNESMITH_API = (1, 0)

_LOAD = "tunesmith_flash_attention.accelerator:AttentionKernel"
_HALF = ("bfloat16", "float16")

#: On which device each runs is a fact of the backends; fa2 and fa3 compute in half precision only.
KERNELS = (
    AcceleratorSpec(
        "fa2",
        _LOAD,
        "FlashAttention 2, by the package flash-attn.",
        needs=("flash_attn",),
        switch=Switch("flash_attn", "fa2"),
        attention="flash_attention_2",
        dtypes=_HALF,
    ),
    AcceleratorSpec(
        "fa3",
        _LOAD,
        "FlashAttention 3, for Hopper devices, by the package flash-attn-3.",
        needs=("flash_attn_interface",),
        switch=Switch("flash_attn", "fa3"),
        attention="flash_attention_3",
        dtypes=_HALF,
    ),
    AcceleratorSpec(
        "flex",
        _LOAD,
        "torch's FlexAttention, compiled for the masks of a batch.",
        switch=Switch("flash_attn", "flex"),
        attention="flex_attention",
    ),
)


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """One for each kernel."""
    return list(KERNELS)
