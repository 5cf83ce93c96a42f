"""Moves what autograd keeps for the backward pass to CPU memory and back, on whatever device it lives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.autograd.graph import saved_tensors_hooks


@dataclass
class Traffic:
    """What went through the hooks so far: tensors kept and brought back, and bytes that left a device."""

    kept: int = 0
    returned: int = 0
    moved_bytes: int = 0


class OnCpu(saved_tensors_hooks):
    """Within it, tensors that autograd saves are held in CPU memory, pinned where the device can copy from such.

    torch's own ``save_on_cpu(pin_memory=True)`` raises on a machine without an accelerator.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        super().__init__(self._pack, self._unpack)

    def _pack(self, tensor: torch.Tensor) -> tuple[torch.device, torch.Tensor]:
        self._traffic.kept += 1
        if tensor.device.type == "cpu":
            return tensor.device, tensor
        self._traffic.moved_bytes += tensor.nbytes
        held = torch.empty_like(tensor, device="cpu", pin_memory=can_pin(tensor))
        # Both copies are queued on the stream that computes, so that they cannot overtake it.
        held.copy_(tensor, non_blocking=True)
        return tensor.device, held

    def _unpack(self, packed: tuple[torch.device, torch.Tensor]) -> torch.Tensor:
        device, tensor = packed
        self._traffic.returned += 1
        return tensor.to(device, non_blocking=True)


def can_pin(tensor: torch.Tensor) -> bool:
    """Whether CPU memory can be pinned for copies from the device of ``tensor``."""
    current = torch.accelerator.current_accelerator()
    return current is not None and current.type == tensor.device.type and tensor.layout is torch.strided
