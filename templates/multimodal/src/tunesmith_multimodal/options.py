"""The flat keys of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class MultimodalOptions:
    """Where images are, how large they are, and which parts of a model that sees them learn."""

    media_dir: Annotated[str | None, "Folder of images; dataset_dir otherwise. Rows cannot name files outside it."] = None
    image_max_pixels: Annotated[int, "Larger images are made smaller.", Range(least=1)] = 768 * 768
    image_min_pixels: Annotated[int, "Smaller images are made larger.", Range(least=1)] = 32 * 32
    freeze_vision_tower: Annotated[bool, "Keep the parts that see and hear as they are."] = True
    freeze_multi_modal_projector: Annotated[bool, "Keep the layers between those and the language model as they are."] = True
    freeze_language_model: Annotated[bool, "Keep the language model as it is."] = False
