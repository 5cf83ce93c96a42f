"""Sums of what a trainer measures beside its loss: over micro-batches, processes and the steps between two log lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

#: A measure of one batch: the sum over what was measured, and how much that was.
Sums = Mapping[str, tuple[torch.Tensor, float]]


class Measures:
    """Sums and counts by name. Kept on the device, so that counting waits for nothing."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, found: Sums) -> None:
        """Take up what one batch gave."""
        for name, (total, count) in found.items():
            both = torch.stack(
                [total.detach().double(), torch.as_tensor(float(count), dtype=torch.float64, device=total.device)]
            )
            self._sums[name] = self._sums[name] + both if name in self._sums else both

    def take(self, gather: Any = None) -> dict[str, float]:
        """The means so far, over all processes where ``gather`` sums a tensor over them; then it begins anew."""
        sums, self._sums = self._sums, {}
        if not sums:
            return {}
        table = torch.stack(list(sums.values()))
        table = gather(table) if gather is not None else table
        return {name: total / count for name, (total, count) in zip(sums, table.tolist(), strict=True) if count}

    def state(self) -> dict[str, list[float]]:
        """What has been summed up, for a checkpoint."""
        return {name: both.tolist() for name, both in self._sums.items()}

    def restore(self, state: Mapping[str, Iterable[float]], device: torch.device) -> None:
        """Take up what :meth:`state` gave."""
        self._sums = {name: torch.tensor(list(both), dtype=torch.float64, device=device) for name, both in state.items()}
