"""Tensors in 4 bits: groups of numbers, each with its own scale and zero, two numbers to a byte."""

from __future__ import annotations

from typing import Any

import torch

GROUP = 256
LEVELS = 15


def shrink(tensor: torch.Tensor) -> dict[str, Any]:
    """``tensor`` (float32) in groups of 256 numbers, rounded to 16 levels between each group's least and greatest.

    The error of a number is at most a thirtieth of its group's span.
    """
    groups = torch.nn.functional.pad(tensor.flatten(), (0, -tensor.numel() % GROUP)).view(-1, GROUP)
    least = groups.amin(1, keepdim=True)
    scale = ((groups.amax(1, keepdim=True) - least) / LEVELS).clamp_min(1e-12)
    levels = ((groups - least) / scale).round().to(torch.uint8).view(-1, 2)
    return {"bytes": levels[:, 0] | levels[:, 1] << 4, "scale": scale, "least": least, "shape": list(tensor.shape)}


def grow(small: dict[str, Any]) -> torch.Tensor:
    """What :func:`shrink` made small, in float32."""
    levels = torch.stack([small["bytes"] & LEVELS, small["bytes"] >> 4], 1).view(-1, GROUP)
    rows, columns = small["shape"]
    return (levels * small["scale"] + small["least"]).flatten()[: rows * columns].view(rows, columns)
