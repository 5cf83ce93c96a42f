"""The same operator in plain torch, which the kernel is tested against; slow, and on any processor."""

from __future__ import annotations

import torch
from torch.nn.functional import linear, silu

from tunesmith_ktransformers.kernel import Sizes, Tuning, check_blocks, update_shapes
from tunesmith_ktransformers.rounding import rounded


class TorchKernel:
    """A :class:`~tunesmith_ktransformers.kernel.Kernel` that autograd goes through."""

    def __init__(self, layer: int, sizes: Sizes, tuning: Tuning, rank: int) -> None:
        check_blocks(sizes, tuning)
        self.layer, self.sizes, self.tuning, self.rank = layer, sizes, tuning, rank
        self.update = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in update_shapes(sizes, rank).items()}
        self.gradients = {name: torch.zeros_like(matrix) for name, matrix in self.update.items()}
        self.updated()

    def load(self, gate: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> None:
        """Take the weights, as the kernel would round them."""
        self._weights = {"gate": gate, "up": up, "down": down}
        self._weights = {name: rounded(weight, self.tuning.bits) for name, weight in self._weights.items()}

    def forward(self, inputs: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """See :class:`~tunesmith_ktransformers.kernel.Kernel`."""
        with torch.set_grad_enabled(keep):
            self._leaves = [inputs.float().requires_grad_(keep), weights.float().requires_grad_(keep)]
            self._copies = {name: matrix.clone().requires_grad_(keep) for name, matrix in self._current.items()}
            output = self._mixed(self._leaves[0], self._leaves[1], chosen)
        self._output = output if keep else None
        return output.detach().to(torch.bfloat16)

    def _mixed(self, inputs: torch.Tensor, weights: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        output = torch.zeros_like(inputs)
        for expert in range(self.sizes.count):
            token, place = torch.where(chosen == expert)
            hidden = silu(self._project("gate", expert, inputs[token])) * self._project("up", expert, inputs[token])
            output = output.index_add(0, token, self._project("down", expert, hidden) * weights[token, place, None])
        return output

    def _project(self, name: str, expert: int, inputs: torch.Tensor) -> torch.Tensor:
        plain = linear(inputs, self._weights[name][expert])
        if not self.rank:
            return plain
        low, high = self._copies[f"{name}_lora_a"][expert], self._copies[f"{name}_lora_b"][expert]
        return plain + linear(linear(inputs, low), high)

    def backward(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`~tunesmith_ktransformers.kernel.Kernel`.

        :raises RuntimeError: no output was kept.
        """
        if self._output is None:
            raise RuntimeError("no output was kept for a backward")
        with torch.enable_grad():
            sources = [*self._leaves, *self._copies.values()]
            found = torch.autograd.grad(self._output, sources, gradient.float(), allow_unused=True)
        self._output = None
        for matrix, one in zip(self.gradients.values(), found[2:], strict=True):
            matrix.copy_(one) if one is not None else matrix.zero_()
        return found[0].to(torch.bfloat16), found[1]

    def updated(self) -> None:
        """Like the kernel, it computes with a copy."""
        self._current = {name: matrix.float() for name, matrix in self.update.items()}
