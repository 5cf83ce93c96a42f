"""In which number format weights are loaded, held and computed with.

==============  =======================================  ===============================
asked for       weights that learn                       weights that do not
==============  =======================================  ===============================
``bf16/fp16``   float32 (autocast computes in half)      half
``pure_bf16``   bfloat16                                 bfloat16
nothing         float32                                  float32 where the model itself is saved,
                                                         the checkpoint's own under an adapter
==============  =======================================  ===============================
"""

from __future__ import annotations

from typing import Any

import torch

from tunesmith.contracts import Backend
from tunesmith.plan import Plan

NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def is_on(plan: Plan, key: str) -> bool:
    """Whether a switch is on; a key that nobody in this run declares is off."""
    return key in plan.settings and bool(plan[key])


def half_wanted(plan: Plan) -> str | None:
    """The half-precision format that training computes in, if any."""
    if is_on(plan, "bf16") or is_on(plan, "pure_bf16"):
        return "bfloat16"
    return "float16" if is_on(plan, "fp16") else None


def dtype_to_train(plan: Plan, backend: Backend, own: torch.dtype | None, *, adapter: bool, exact: bool) -> torch.dtype:
    """The format in which weights are loaded for training.

    :param own: the format the weights are saved in.
    :param adapter: the tuner adds weights and leaves these as they are.
    :param exact: weights saved in float32 are about to be copied over them.
    """
    half = half_wanted(plan)
    if is_on(plan, "pure_bf16"):
        return backend.dtype("bfloat16")
    if adapter:
        return backend.dtype(half) if half else dtype_to_infer(plan, backend, own)
    if half is None or exact:
        return backend.dtype("float32")
    return own if own in NAMES else backend.dtype("float32")


def dtype_beside(plan: Plan, backend: Backend, own: torch.dtype | None, *, adapter: bool) -> torch.dtype:
    """The format of a model that answers beside the one that learns: what the latter computes in, so that both agree."""
    if half_wanted(plan) or adapter:
        return dtype_to_train(plan, backend, own, adapter=True, exact=False)
    return backend.dtype("float32")


def dtype_to_infer(plan: Plan, backend: Backend, own: torch.dtype | None) -> torch.dtype:
    """The format for inference and export: ``infer_dtype``, or the one the weights are saved in."""
    wanted = str(plan["infer_dtype"]) if plan.command != "train" else "auto"
    if wanted != "auto" or own is None:
        return backend.dtype(wanted)
    return backend.dtype(NAMES.get(own, "auto"))


def settle(model: Any, plan: Plan, backend: Backend, *, adapter: bool) -> None:
    """Give every weight of a prepared model the format of the table above. Quantised weights are left alone."""
    half = half_wanted(plan)
    pure = is_on(plan, "pure_bf16")
    for weight in model.parameters():
        if weight.dtype not in NAMES:
            continue
        if weight.requires_grad:
            weight.data = weight.data.to(torch.bfloat16 if pure else torch.float32)
        elif half and not adapter:
            weight.data = weight.data.to(backend.dtype(half))


def autocast(plan: Plan, backend: Backend) -> Any:
    """The context in which a hand-written forward pass computes as training does."""
    half = half_wanted(plan)
    return backend.autocast(backend.dtype("float32" if half is None or is_on(plan, "pure_bf16") else half))
