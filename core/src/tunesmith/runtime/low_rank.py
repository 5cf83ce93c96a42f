"""Gradients in few dimensions: the subspace that the largest singular vectors span, or a random one.

The shorter side of a gradient is the one to shrink, so that what is kept has ``rank × longer side`` numbers
(Zhao et al. 2024, arXiv:2403.03507, §4.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Subspace:
    """``left``: (rows, rank) or nothing; ``right``: (columns, rank) or nothing."""

    left: torch.Tensor | None = None
    right: torch.Tensor | None = None

    def down(self, whole: torch.Tensor) -> torch.Tensor:
        """``Pᵀ G``, ``G Q`` or ``Pᵀ G Q``."""
        low = whole if self.left is None else self.left.to(whole.dtype).T @ whole
        return low if self.right is None else low @ self.right.to(whole.dtype)

    def up(self, low: torch.Tensor) -> torch.Tensor:
        """``P N``, ``N Qᵀ`` or ``P N Qᵀ``."""
        whole = low if self.left is None else self.left.to(low.dtype) @ low
        return whole if self.right is None else whole @ self.right.to(low.dtype).T


def sides(shape: torch.Size, kind: str) -> tuple[bool, bool]:
    """Whether the rows (left) and the columns (right) shrink: ``std`` the shorter side, ``reverse_std`` the longer one."""
    tall = shape[0] >= shape[1]
    return {
        "std": (not tall, tall),
        "reverse_std": (tall, not tall),
        "left": (True, False),
        "right": (False, True),
        "both": (True, True),
    }[kind]


def leading(gradient: torch.Tensor, rank: int, kind: str) -> Subspace:
    """The subspace of the ``rank`` largest singular vectors of ``gradient``, computed in float32."""
    rows, columns = sides(gradient.shape, kind)
    left, _, right = torch.linalg.svd(gradient.float(), full_matrices=False)
    # Copies, so that the rest of the decomposition is not held.
    return Subspace(left[:, :rank].clone() if rows else None, right[:rank].T.clone() if columns else None)


def random(gradient: torch.Tensor, rank: int, kind: str, seed: int) -> Subspace:
    """A random subspace: entries drawn from N(0, 1/rank), the same for the same seed, shape and device."""
    rows, columns = sides(gradient.shape, kind)
    generator = torch.Generator(gradient.device).manual_seed(seed)

    def draw(size: int) -> torch.Tensor:
        return torch.randn(size, rank, generator=generator, device=gradient.device) / math.sqrt(rank)

    return Subspace(draw(gradient.shape[0]) if rows else None, draw(gradient.shape[1]) if columns else None)
