"""Adapters folded into a model one after the other, each merge held against the adapter that it replaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tunesmith import TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.base_changes import change_rows
from tunesmith.runtime.loading import adapter_folder, spec_of, tuner_for

from tunesmith_export.answers import Answers, Difference, answers, difference

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: How far a typical logit may move, as a share of the spread, because weights are rounded to this format.
ROUNDING = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
#: A merge may lose at most this share of what the adapter changes.
LOSS = 0.5


@dataclass(frozen=True)
class Merge:
    """One merged adapter.

    :param change: what it does to the base.
    :param gap: what merging it did to its answers.
    :param weights: how many weights it changed, where it was merged layer by layer.
    :param moved: by how much, as a share of the size of all that it was merged into.
    """

    adapter: str
    tuner: str
    weights: int | None = None
    moved: float | None = None
    change: Difference | None = None
    gap: Difference | None = None


def find_adapters(plan: Plan, plugins: Plugins, names: Sequence[str]) -> list[tuple[Path, str]]:
    """Folder of each adapter and the name of the tuner that wrote it.

    :raises TunesmithError: one cannot be merged.
    """
    found = [(folder, spec_of(plugins, folder)) for folder in (adapter_folder(plan, name) for name in names)]
    for folder, spec in found:
        if not spec.mergeable:
            message = f"{folder} holds a {spec.name} adapter, which cannot be merged."
            raise TunesmithError(message, "Serve it beside its model.")
    return [(folder, spec.name) for folder, spec in found]


def merge_all(
    plan: Plan, plugins: Plugins, model: PreTrainedModel, prompts: Sequence[Sequence[int]]
) -> tuple[PreTrainedModel, list[Merge], Answers | None]:
    """Merge every adapter of the plan in order. Without prompts nothing is compared.

    :return: the plain model, what was merged, and what the model answers now.
    :raises TunesmithError: an adapter or its merge changes nothing, or the merge does not answer as the adapter did.
    """
    merges = []
    adapters = find_adapters(plan, plugins, plan.models["policy"].adapters)
    for folder, _ in adapters:
        change_rows(model, folder)
    now = answers(model, prompts) if prompts else None
    sums = {} if prompts else _sums(model)
    for folder, name in adapters:
        tuner = tuner_for(plan, plugins, folder)
        model = tuner.load(model, folder, trainable=False).eval()
        tuned = answers(model, prompts) if prompts else None
        model = tuner.merge(model).eval()
        if now is None or tuned is None:
            sums = _moved(folder, sums, _sums(model))
            merges.append(Merge(str(folder), name))
            continue
        merged = answers(model, prompts)
        merges.append(_compare(Merge(str(folder), name), now, tuned, merged, model.dtype))
        now = merged
    return model.requires_grad_(False), merges, now


def _sums(model: PreTrainedModel) -> dict[str, tuple[float, float]]:
    """The sum and the size of each weight, by which a change shows without keeping a copy."""
    named = model.named_parameters()
    return {
        name: (float(w.detach().sum(dtype=torch.float64)), float(w.detach().norm(dtype=torch.float32))) for name, w in named
    }


def _moved(folder: Path, before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> Any:
    if before == after:
        what = f"Merging the adapter {folder} changes no weight: it has learned nothing, or too little to survive rounding."
        raise TunesmithError(what, "Export the base itself, or write infer_dtype: float32.")
    if not all(math.isfinite(number) for pair in after.values() for number in pair):
        raise TunesmithError(f"Merging the adapter {folder} makes weights that are no numbers.", "Its training went wrong.")
    return after


def _compare(merge: Merge, base: Answers, tuned: Answers, merged: Answers, dtype: torch.dtype) -> Merge:
    if not (tuned.finite and merged.finite):
        raise TunesmithError(
            f"With the adapter {merge.adapter} the model answers what is no number.", "Its training went wrong."
        )
    change, kept, gap = difference(base, tuned), difference(base, merged), difference(tuned, merged)
    if not change.typical:
        raise TunesmithError(
            f"The adapter {merge.adapter} changes nothing: it has learned nothing yet.", "Export the base itself."
        )
    if not kept.typical or gap.typical > max(LOSS * change.typical, 0.0) or gap.typical > ROUNDING.get(dtype, 0.0):
        raise TunesmithError(
            f"Merged, the model does not answer as with the adapter {merge.adapter}: logits are off by {gap.typical:.2g} of "
            f"their spread, and the adapter changed them by {change.typical:.2g}.",
            _remedy(dtype),
        )
    return replace(merge, change=change, gap=gap)


def _remedy(dtype: Any) -> str:
    if dtype is torch.float32:
        return "The adapter belongs to another model, or its tuner merges wrongly."
    name = str(dtype).removeprefix("torch.")
    return f"What was learned is too small to survive rounding to {name}: write infer_dtype: float32."
