"""What this package offers: a reader of images, and the keys that say what of a model that sees is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import MediaSpec, Problem, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_media() -> list[MediaSpec]:
    """One reader for every family: the model's processor knows its own."""
    return [
        MediaSpec(
            "multimodal",
            "tunesmith_multimodal.reader:ImageReader",
            "Images, by the model's own processor.",
            options="tunesmith_multimodal.options:MultimodalOptions",
            kinds=("image",),
        )
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What is wrong with how images are asked for, known before a row is read."""
    from tunesmith_multimodal.checks import check

    if "image_max_pixels" in plan.settings:
        yield from check(plan)
