"""What speaks against moving weights within the backward pass. For the plan checks of optimizers that can; without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tunesmith.errors import Problem

if TYPE_CHECKING:
    from tunesmith.plan import Plan


#: Flat key, the values that do no harm, what to write, and why others cannot work.
CONTRARY: tuple[tuple[str, tuple[Any, ...], str, str], ...] = (
    ("gradient_accumulation_steps", (1,), "1", "gradients cannot be accumulated"),
    ("max_grad_norm", (0, None), "0", "the norm of all gradients is never known"),
    ("fp16", (False, None), "false", "gradients are used before the loss scale is taken out"),
)


def update_problems(plan: Plan, key: str) -> Iterator[Problem]:
    """Settings that a run cannot have whose weights move as soon as their gradient is there.

    :param key: the flat key, with its value, that asks for it (``acme_layerwise``).
    """
    for other, harmless, instead, reason in CONTRARY:
        setting = plan.settings.get(other)
        if setting is not None and setting.given and setting.value not in harmless:
            what = f"{key} moves weights within the backward pass: {reason}, and {other} is {setting.value}"
            yield Problem(setting.origin, what, f"Write {other}: {instead}, or leave {key} out.")
    if plan.spread.processes > 1 or plan.spread.shards != "nothing":
        where = plan.settings[key].origin if key in plan.settings else ""
        what = f"{key} moves weights within the backward pass: gradients are used before processes have shared them"
        yield Problem(where, what, f"Train in one process, or leave {key} out.")
