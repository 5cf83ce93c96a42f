"""What speaks against an export, found while planning."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tunesmith import Notice, Problem
from tunesmith.model_folder import HUB_NAME, is_offline
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins

from tunesmith_export.plugin import GPTQ
from tunesmith_export.whole import whole_model_reason

#: Keys of the uploads that training makes → what says the same of an export.
OF_TRAINING = {
    "push_to_hub": "export_hub_model_id",
    "hub_model_id": "export_hub_model_id",
    "hub_private_repo": "export_hub_private",
    "hub_revision": "export_hub_revision",
    "hub_token": "hf_hub_token",
    "hub_strategy": "",
    "hub_always_push": "",
}


def problems(plan: Plan) -> Iterator[Problem]:
    """Everything wrong with where the export goes and what it is made of."""
    setting = plan.settings["export_dir"]
    if setting.value and (trouble := folder_trouble(Path(setting.value).expanduser())):
        yield Problem(setting.origin, f"export_dir: {trouble}", "Give a folder that is new or empty.")
    wish = plan.models.get("policy")
    if wish is None:
        return
    if wish.bits:
        origin = plan.settings["quantization_bit"].origin
        yield Problem(origin, "adapters cannot be merged into quantised weights", "Leave out quantization_bit.")
        return
    yield from _upload_problems(plan)
    if plan["export_quantization_bit"] and plan["export_format"] != "safetensors":
        what = f"export_quantization_bit is for safetensors, and export_format is {plan['export_format']}"
        yield Problem(plan.settings["export_quantization_bit"].origin, what, "Leave one of them out.")
    if plan["export_quantization_bit"] and not plan["export_quantization_dataset"] and method_of(plan) in calibrated(plan):
        what = f"{method_of(plan)} looks at data to quantise by, and export_quantization_dataset names none"
        yield Problem(
            plan.settings["export_quantization_bit"].origin,
            what,
            "Name datasets as dataset does; 128 rows of some text will do.",
        )
    if wish.packed:
        method, where = wish.quantizer.partition("@")[0], plan.settings["model_name_or_path"].origin
        yield Problem(where, f"{wish.path} holds weights quantised by {method}", "Give the model they were made from.")


def _upload_problems(plan: Plan) -> Iterator[Problem]:
    name, origin = plan["export_hub_model_id"], plan.settings["export_hub_model_id"].origin
    for key in ("export_hub_revision", "export_hub_private"):
        if plan[key] and not name:
            what = f"{key} says how to upload, and nothing is uploaded"
            yield Problem(plan.settings[key].origin, what, "Write export_hub_model_id, or leave it out.")
    for key, instead in OF_TRAINING.items():
        if key in plan.unused and plan.unused[key].origin == "command line":  # in a file it may be there for the training
            what = f"{key} is about what a training uploads, and this is an export"
            yield Problem(plan.unused[key].origin, what, f"Write {instead}." if instead else "Leave it out.")
    if name and not HUB_NAME.fullmatch(name):
        yield Problem(origin, f"{name} is no name of the hub", "Such a name looks like organisation/name.")
    elif name and is_offline():
        yield Problem(origin, "the hub is switched off", "Unset HF_HUB_OFFLINE, or leave export_hub_model_id out.")


def method_of(plan: Plan) -> str:
    """The method that the model is quantised by."""
    setting = plan.settings["quantization_method"]
    return str(setting.value) if setting.given else GPTQ


def calibrated(plan: Plan) -> tuple[str, ...]:
    """The methods of the picked quantizer that look at data."""
    return tuple(
        name for chosen in plan.picked("quantizers") for name in plugins_of(plan).quantizers.get(chosen.wanted).spec.calibrated
    )


def plugins_of(plan: Plan) -> Plugins:
    """The plugins that a plan was made with."""
    return Plugins(without=plan.without, only=plan.only, local=Path(plan.local) if plan.local else None)


def notices(plan: Plan) -> Iterator[Notice]:
    """What a user should know of how the export goes."""
    if plan["export_quantization_dataset"] and not plan.datasets:
        chosen = ", ".join(one.name for one in plan.picked("quantizers")) or "an export that quantises nothing"
        yield Notice(f"export_quantization_dataset is not read: {chosen} looks at no data")
    if "policy" not in plan.models or not plan.models["policy"].adapters:
        return
    if why := whole_model_reason(plan, plugins_of(plan)):
        yield Notice(f"the whole model is held in memory to merge it: {why}")
    elif plan["export_verify"]:
        yield Notice(
            "the whole model is held in memory to verify the merge; export_verify: false merges it layer by layer only"
        )


def folder_trouble(folder: Path) -> str:
    """Why nothing can be exported into ``folder``, or the empty string."""
    if folder.is_dir() and any(folder.iterdir()):
        return f"{folder} already holds something"
    if folder.exists() and not folder.is_dir():
        return f"{folder} is a file"
    place = standing(folder)
    if not place.is_dir():
        return f"{place} is a file"
    return "" if os.access(place, os.W_OK | os.X_OK) else f"no permission to write into {place}"


def standing(folder: Path) -> Path:
    """The nearest thing above ``folder`` that exists."""
    return next(place for place in folder.absolute().parents if place.exists())
