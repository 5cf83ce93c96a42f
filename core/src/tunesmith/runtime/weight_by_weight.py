"""A torch optimizer made of a rule that looks at one weight at a time, in the step or already while gradients are computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

from tunesmith.errors import TunesmithError

#: Moves a weight in place: ``rule(weight, gradient, state, group)``. ``state`` is the weight's own, empty at first, and holds
#: tensors, lists and dicts of them, or plain values; ``group`` holds ``lr``, ``weight_decay`` and whatever the defaults name.
Rule: TypeAlias = Callable[[torch.Tensor, torch.Tensor, dict[str, Any], Mapping[str, Any]], None]


class WeightByWeight(torch.optim.Optimizer):
    """Applies ``rule`` to every weight that has a gradient.

    :param at_once: apply it as soon as a weight's gradient is complete, within the backward pass, and let the gradient go: no
        two weights' gradients need to be held together (Lv et al. 2023, arXiv:2306.09782, §3.1). ``step`` then finds
        nothing left to do. Neither accumulated gradients nor their common norm exist in this mode.
    """

    def __init__(self, groups: list[dict[str, Any]], rule: Rule, defaults: dict[str, Any], *, at_once: bool = False) -> None:
        super().__init__(groups, defaults)
        self.rule = rule
        if at_once:
            self._group_of = {weight: n for n, group in enumerate(self.param_groups) for weight in group["params"]}
            for weight in self._group_of:
                weight.register_post_accumulate_grad_hook(self._move_now)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every weight that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self.rule(weight, weight.grad, self.state[weight], group)
        return loss

    @torch.no_grad()
    def _move_now(self, weight: torch.Tensor) -> None:
        self.rule(weight, weight.grad, self.state[weight], self.param_groups[self._group_of[weight]])
        weight.grad = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``, each tensor in the format it was saved in.

        torch gives tensors the format of their weight, which would change what is held more or less exactly than that.
        """
        super().load_state_dict(state_dict)
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for index, weight in zip(saved, weights, strict=True):
            if index in state_dict["state"]:
                self.state[weight] = {name: _near(value, weight) for name, value in state_dict["state"][index].items()}


def _near(value: Any, weight: torch.Tensor) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(weight.device, copy=True)
    if isinstance(value, dict):
        return {name: _near(item, weight) for name, item in value.items()}
    return [_near(item, weight) for item in value] if isinstance(value, list) else value


def check_single_process(key: str, arguments: Any) -> None:
    """See that no gradient has to be shared with another process before it is used.

    :raises TunesmithError: the run has several processes.
    """
    if arguments.world_size > 1:
        what = (
            f"{key}: weights move before their gradients have been shared, and this run has {arguments.world_size} processes."
        )
        raise TunesmithError(what, f"Run it on one device, or leave {key} out.")


# ---- the steps that several rules are made of ------------------------------------------------------------------------


def adam_defaults(arguments: Any) -> dict[str, Any]:
    """``lr``, ``betas``, ``eps`` and ``weight_decay`` of the training arguments, as groups hold them."""
    betas = (arguments.adam_beta1, arguments.adam_beta2)
    return {
        "lr": arguments.learning_rate,
        "betas": betas,
        "eps": arguments.adam_epsilon,
        "weight_decay": arguments.weight_decay,
    }


def adam_direction(gradient: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> torch.Tensor:
    """``m̂ / (√v̂ + ε)`` with the moments and the count of steps in ``state`` (Kingma and Ba 2015, arXiv:1412.6980)."""
    if "exp_avg" not in state:
        state |= {"exp_avg": torch.zeros_like(gradient), "exp_avg_sq": torch.zeros_like(gradient), "steps": 0}
    first, second = group["betas"]
    state["steps"] += 1
    mean = state["exp_avg"].lerp_(gradient, 1 - first)
    square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    scale = (square.sqrt() / math.sqrt(1 - second ** state["steps"])).add_(group["eps"])
    return mean / scale / (1 - first ** state["steps"])


def decay(weight: torch.Tensor, group: Mapping[str, Any]) -> None:
    """Weight decay apart from the gradient (Loshchilov and Hutter 2019, arXiv:1711.05101): ``w ← (1 − lr·λ) w``."""
    if group["weight_decay"]:
        weight.mul_(1 - group["lr"] * group["weight_decay"])


def adamw(weight: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    """AdamW as a rule, for the weights that an optimizer treats as usual."""
    decay(weight, group)
    weight.add_(adam_direction(gradient, state, group), alpha=-group["lr"])
