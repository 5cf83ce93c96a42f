"""The small network itself, how it is put into a layer and how it is folded away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "identity": lambda states: states,
}
#: Standard deviation of the start of those that follow a part of a layer: near enough to nothing (Houlsby et al. 2019, §3.6).
NEAR_NOTHING = 1e-2


@dataclass(frozen=True)
class Form:
    """What a network is made of, as it is saved."""

    type: str
    size: int
    activation: str
    scaling: float
    dropout: float

    @property
    def parallel(self) -> bool:
        """Whether it reads what the part reads, and not what it answers."""
        return self.type == "parallel"

    @property
    def linear(self) -> bool:
        """Whether it is a matrix, which can be folded into the weight before it."""
        return self.activation == "identity" and not self.parallel


class Bottleneck(nn.Module):
    """``scaling · (U f(D x + d) + u)`` from (…, width) to (…, width).

    A linear one has no biases: the layer that it is to be folded into may have none.
    """

    def __init__(self, width: int, form: Form) -> None:
        super().__init__()
        self.form, self.enabled = form, True
        bends = form.activation != "identity"
        self.down, self.up = nn.Linear(width, form.size, bias=bends), nn.Linear(form.size, width, bias=bends)
        self.dropout = nn.Dropout(form.dropout)
        self._start()

    def _start(self) -> None:
        """Parallel ones start as He et al. 2022 (arXiv:2110.04366) start theirs: exactly from nothing."""
        if self.form.parallel:
            nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
            nn.init.zeros_(self.up.weight)
        else:
            for layer in (self.down, self.up):
                nn.init.trunc_normal_(layer.weight, std=NEAR_NOTHING, a=-2 * NEAR_NOTHING, b=2 * NEAR_NOTHING)
        for layer in (self.down, self.up):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """What is to be added, in the number format of ``states``."""
        middle = ACTIVATIONS[self.form.activation](self.down(states.to(self.down.weight.dtype)))
        return (self.form.scaling * self.up(self.dropout(middle))).to(states.dtype)


NAME = "bottleneck"


def insert(part: nn.Module, network: Bottleneck) -> None:
    """Let ``network`` add to what ``part`` of a layer answers; the part keeps its name and those of its weights."""
    part.add_module(NAME, network)
    network.hook = part.register_forward_hook(_add, with_kwargs=True)


def remove(part: nn.Module) -> None:
    """Take it out again."""
    network = part.get_submodule(NAME)
    network.hook.remove()  # type: ignore[union-attr, operator]
    delattr(part, NAME)


def _add(part: Any, given: tuple[Any, ...], named: Mapping[str, Any], answer: Any) -> Any:
    network: Bottleneck = part.bottleneck
    if not network.enabled:
        return answer
    states = answer[0] if isinstance(answer, tuple) else answer
    read = (given[0] if given else named["hidden_states"]) if network.form.parallel else states
    states = states + network(read)
    return (states, *answer[1:]) if isinstance(answer, tuple) else states


@torch.no_grad()
def fold(last: nn.Linear, network: Bottleneck) -> None:
    """Make a linear network that reads what ``last`` answers a part of that layer's weight: ``(I + s·U D) W``."""
    matrix = network.form.scaling * network.up.weight.double() @ network.down.weight.double()
    matrix = matrix.to(last.weight.device)
    last.weight.data = (last.weight.double() + matrix @ last.weight.double()).to(last.weight.dtype)
    if last.bias is not None:
        last.bias.data = (last.bias.double() + matrix @ last.bias.double()).to(last.bias.dtype)
