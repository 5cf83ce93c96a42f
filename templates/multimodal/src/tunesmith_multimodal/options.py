"""The flat keys of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range

#: Options that the processors of some families know → what those call them.
CUTS = {"crop_to_patches": "crop_to_patches", "image_do_pan_and_scan": "do_pan_and_scan"}


@dataclass(frozen=True)
class MultimodalOptions:
    """Where images are, how large they are, and which parts of a model that sees them learn."""

    media_dir: Annotated[str | None, "Folder of images; dataset_dir otherwise. Rows cannot name files outside it."] = None
    image_max_pixels: Annotated[int, "Larger images are made smaller.", Range(least=1)] = 768 * 768
    image_min_pixels: Annotated[int, "Smaller images are made larger.", Range(least=1)] = 32 * 32
    crop_to_patches: Annotated[bool | None, "Cut images into tiles as InternVL does; as the model's own processor says."] = None
    image_do_pan_and_scan: Annotated[bool | None, "Cut long images into crops as Gemma 3 does; as its processor says."] = None
    freeze_vision_tower: Annotated[bool, "Keep the parts that see and hear as they are."] = True
    freeze_multi_modal_projector: Annotated[bool, "Keep the layers between those and the language model as they are."] = True
    freeze_language_model: Annotated[bool, "Keep the language model as it is."] = False

    @property
    def cuts(self) -> dict[str, bool]:
        """What was said about how images are cut up."""
        return {key: value for key in CUTS if (value := getattr(self, key)) is not None}
