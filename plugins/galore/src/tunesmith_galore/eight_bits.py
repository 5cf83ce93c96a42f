"""Adam's moments in eight bits, by bitsandbytes' dynamic map: blocks of 256 numbers, each with its own scale (Dettmers et al.
2022, arXiv:2110.02861)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from bitsandbytes.functional import create_dynamic_map, dequantize_blockwise, quantize_blockwise
from tunesmith.runtime.weight_by_weight import adam_direction

BLOCK = 256
#: Moments of smaller weights stay as they are, as bitsandbytes leaves them.
SMALL = 4096
#: Adam's moments, and whether they have a sign.
MOMENTS = {"exp_avg": True, "exp_avg_sq": False}


def direction(gradient: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> torch.Tensor:
    """As :func:`adam_direction`, with moments that are held in eight bits between steps."""
    for name, signed in MOMENTS.items():
        if isinstance(state.get(name), dict):
            state[name] = grow(state[name], signed)
    moved = adam_direction(gradient, state, group)
    for name, signed in MOMENTS.items():
        if state[name].numel() >= SMALL:
            state[name] = shrink(state[name], signed)
    return moved


def shrink(tensor: torch.Tensor, signed: bool) -> dict[str, torch.Tensor]:
    """``tensor`` as codes of eight bits, and the greatest number of each block."""
    codes, held = quantize_blockwise(tensor.float().contiguous(), code=_map(signed, tensor.device), blocksize=BLOCK)
    return {"codes": codes, "greatest": held.absmax}


def grow(small: Mapping[str, torch.Tensor], signed: bool) -> torch.Tensor:
    """What :func:`shrink` made small, in float32."""
    code = _map(signed, small["codes"].device)
    return dequantize_blockwise(small["codes"], absmax=small["greatest"], code=code, blocksize=BLOCK)


@cache
def _map(signed: bool, device: torch.device) -> torch.Tensor:
    return create_dynamic_map(signed=signed).to(device)
