"""What speaks against a plan with images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import Problem

from tunesmith_multimodal.options import MultimodalOptions

if TYPE_CHECKING:
    from tunesmith.plan import DatasetPlan, Plan

FREEZE = ("freeze_vision_tower", "freeze_multi_modal_projector", "freeze_language_model")

#: Kinds of rows that pictures may be in.
LEARNED = ("conversation", "preference", "feedback")


def check(plan: Plan) -> Iterator[Problem]:
    """Sizes, folders, what learns, and what cannot be done with the images of a dataset."""
    options = plan.options(MultimodalOptions)
    if options.image_min_pixels > options.image_max_pixels:
        what = f"image_min_pixels ({options.image_min_pixels}) is above image_max_pixels ({options.image_max_pixels})"
        yield Problem(plan.settings["image_min_pixels"].origin, what, "Write a smaller one.")
    if options.media_dir is not None and not Path(options.media_dir).expanduser().is_dir():
        what = f"there is no folder {options.media_dir}"
        yield Problem(plan.settings["media_dir"].origin, what, "media_dir is the folder that the images lie in.")
    if all(getattr(options, key) for key in FREEZE):
        yield Problem(plan.settings[FREEZE[2]].origin, "nothing is left to learn: every part is frozen", "Let one of them go.")
    for dataset in plan.datasets:
        yield from _dataset(plan, dataset)


def _dataset(plan: Plan, dataset: DatasetPlan) -> Iterator[Problem]:
    named = [column for column in ("images", "videos", "audios") if dataset.entry.get("columns", {}).get(column)]
    if not named:
        return
    if named != ["images"]:
        other = next(column for column in named if column != "images")
        yield Problem(dataset.name, f"{dataset.name} has {other}, which cannot be read yet", f"Leave {other} out of columns.")
    if dataset.kind not in LEARNED:
        what = f"{dataset.name} has images, and the stage {plan['stage']} cannot learn from them yet"
        yield Problem(dataset.name, what, "The stages sft, dpo, kto and rm can. Or leave images out of columns.")
    for key in ("packing", "neat_packing"):
        if key in plan.settings and plan[key]:
            what = f"{key}: {dataset.name} has images, which cannot be packed"
            yield Problem(plan.settings[key].origin, what, f"Write {key}: false")
