"""An emulation of torch-npu's fused operators in plain torch, after their documentation. It is not torch-npu.

What it refuses is what the documentation says that the device refuses: tensors of several number formats, masks that are no
booleans, a head's width that is no multiple of two.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch.nn import functional

#: How often each operator was called.
CALLS: dict[str, int] = {}


def _count(name: str) -> None:
    CALLS[name] = CALLS.get(name, 0) + 1


def npu_rms_norm(self: Any, gamma: Any, epsilon: float = 1e-6) -> tuple[Any, Any]:
    _count("npu_rms_norm")
    assert self.dtype is gamma.dtype, "self and gamma differ in dtype"
    reverse = torch.rsqrt(self.float().square().mean(-1, keepdim=True) + epsilon)
    return (self.float() * reverse).to(self.dtype) * gamma, reverse


def npu_swiglu(self: Any, dim: int = -1) -> Any:
    _count("npu_swiglu")
    gate, up = self.chunk(2, dim)
    return functional.silu(gate) * up


def npu_rotary_mul(input: Any, r1: Any, r2: Any, rotary_mode: str = "half") -> Any:
    _count("npu_rotary_mul")
    assert rotary_mode == "half"
    assert input.dim() == r1.dim() == r2.dim() == 4
    assert input.shape[-1] % 2 == 0
    assert input.dtype is r1.dtype is r2.dtype
    first, second = input.chunk(2, -1)
    return r1 * input + r2 * torch.cat((-second, first), dim=-1)


def npu_fusion_attention(
    query: Any,
    key: Any,
    value: Any,
    head_num: int,
    input_layout: str,
    *,
    atten_mask: Any = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
) -> tuple[Any, ...]:
    _count("npu_fusion_attention")
    assert input_layout == "BNSD"
    assert head_num == query.shape[1]
    assert atten_mask is None or atten_mask.dtype in (torch.bool, torch.uint8), "atten_mask holds no booleans"
    seen = None if atten_mask is None else ~atten_mask.bool()
    out = functional.scaled_dot_product_attention(
        query, key, value, seen, dropout_p=1.0 - keep_prob, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
    )
    return (out, None, None, None, 0, 0, 0)


def as_torch_npu() -> ModuleType:
    """The module that stands for torch-npu."""
    module = ModuleType("torch_npu", __doc__)
    module.__spec__ = ModuleSpec("torch_npu", None)
    for operator in (npu_rms_norm, npu_swiglu, npu_rotary_mul, npu_fusion_attention):
        setattr(module, operator.__name__, operator)
    return module


def install() -> None:
    """Stand for torch-npu in this process."""
    sys.modules["torch_npu"] = as_torch_npu()
