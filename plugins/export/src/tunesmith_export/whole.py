"""Why a merge needs the whole model in memory, as far as it can be known before anything is loaded. No torch."""

from __future__ import annotations

from pathlib import Path

from tunesmith.layer_merge import whole_model_needed
from tunesmith.model_folder import BASE_CHANGES, bears, read_json
from tunesmith.model_stores import place_in
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def whole_model_reason(plan: Plan, plugins: Plugins) -> str:
    """Why adapters cannot be merged into the policy layer by layer; empty where nothing is known to prevent it."""
    wish = plan.models["policy"]
    folder = place_in(plan, str(wish.path)).folder
    if wish.quantizer:
        return f"{wish.path} is held in few bits, and read into plain weights first"
    if folder is not None and not any((folder / name).is_file() for name in WEIGHTS):
        return f"{wish.path} is not in safetensors files"
    if folder is not None and plan["trust_remote_code"] and "auto_map" in read_json(folder, "config.json"):
        return f"{wish.path} brings code of its own"
    reasons = (_reason(adapter, plugins) for name in wish.adapters if (adapter := _adapter(plan, name)) is not None)
    return next(filter(None, reasons), "")


def _adapter(plan: Plan, name: str) -> Path | None:
    folder = place_in(plan, name).folder
    return folder / (plan["adapter_folder"] or "") if folder is not None else None


def _reason(folder: Path, plugins: Plugins) -> str:
    if read_json(folder, BASE_CHANGES).get("ids"):
        return f"the adapter in {folder} brings rows for new tokens"
    specs = [offer.spec for offer in plugins.tuners if any(bears(folder, mark) for mark in offer.spec.marks)]
    return whole_model_needed(specs[0], folder) if specs else ""
