"""Every weight of a model, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.plan import Plan
from tunesmith.runtime.precision import is_on

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def listing(model: PreTrainedModel, plan: Plan) -> Iterator[str]:
    """Name, shape, number format, device and whether it learns, where ``print_param_status`` asks for it."""
    if is_on(plan, "print_param_status"):
        for name, weight in model.named_parameters():
            shape, format_ = "×".join(map(str, weight.shape)), str(weight.dtype).removeprefix("torch.")
            yield f"{name}: {shape}, {format_}, {weight.device}, {'learns' if weight.requires_grad else 'stays'}"
