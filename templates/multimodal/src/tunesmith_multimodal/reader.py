"""Images before a model: as tokens in its text, and as pixels beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import TunesmithError
from tunesmith.contracts import BadMedia, MediaReader
from tunesmith.data.conversation import Media, Rendered
from tunesmith.templates.media_renderer import PROCESSOR_FILES

from tunesmith_multimodal.options import MultimodalOptions

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan


class ImageReader(MediaReader):
    """Reads images as the model's own processor wants them.

    How many tokens an image becomes depends on its size alone, so that preparing rows asks the processor once for each size.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._options = plan.options(MultimodalOptions)
        self._folder = folder
        data = plan.settings.get("dataset_dir")
        wanted = self._options.media_dir or (str(data.value) if data else ".")
        self._root = Path(wanted).expanduser() if plan.datasets or self._options.media_dir else None
        self._texts: dict[tuple[int, int], str] = {}
        self._black: dict[str, torch.Tensor] = {}
        self.fingerprint = self._fingerprint()

    def _fingerprint(self) -> str:
        files = [file.read_bytes() for name in PROCESSOR_FILES if (file := self._folder / name).is_file()]
        limits = (self._options.image_min_pixels, self._options.image_max_pixels, str(self._root and self._root.resolve()))
        told = json.dumps([*limits, self._options.cuts, version("transformers"), version("pillow")]).encode()
        return hashlib.sha256(b"\0".join([told, *files])).hexdigest()

    @property
    def _processor(self) -> Any:
        from tunesmith_multimodal.processors import load_processor

        return load_processor(self._folder)

    # -- text ----------------------------------------------------------------------------------------------------------

    def expand(self, rendered: Rendered) -> Rendered:
        """See :meth:`tunesmith.contracts.MediaReader.expand`."""
        pieces, seen = list(rendered.pieces), []
        for media, at in zip(rendered.media, rendered.media_at, strict=True):
            found = self._found(media)
            pieces[at] = pieces[at]._replace(text=self._expanded(pieces[at].text, found))
            seen.append(found)
        return replace(rendered, pieces=tuple(pieces), media=tuple(seen))

    def _found(self, media: Media) -> Media:
        from tunesmith_multimodal.images import place_of

        if media.kind != "image":
            raise BadMedia(f"{media.path}: {media.kind}s cannot be read yet, only images", f"{media.kind}s")
        return media if media.data else replace(media, path=str(place_of(media.path, self._root)))

    def _expanded(self, text: str, media: Media) -> str:
        from tunesmith_multimodal.images import bounded, measure

        token: str = self._processor.image_token
        if token not in text:
            what = f"The template writes {text!r} for an image, and {type(self._processor).__name__} looks for {token!r}."
            raise TunesmithError(what, "Pick the template that belongs to the model.")
        size = bounded(*measure(media), self._options.image_min_pixels, self._options.image_max_pixels)
        if size not in self._texts:
            self._texts[size] = self._text_for(size, media)
        return text.replace(token, self._texts[size], 1)

    def _text_for(self, size: tuple[int, int], media: Media) -> str:
        from PIL import Image

        from tunesmith_multimodal.processors import process

        try:
            return process(self._processor, [Image.new("RGB", size)], self._options.cuts)[1][0]
        except ValueError as error:
            raise BadMedia(f"the image {media.path} cannot be used by this model: {error}", "images") from error

    # -- tensors -------------------------------------------------------------------------------------------------------

    def inputs(self, ids: torch.Tensor, media: Sequence[Media]) -> dict[str, Any]:
        """See :meth:`tunesmith.contracts.MediaReader.inputs`."""
        processor = self._processor
        if not media:
            self._check(processor, ids, (), media)
            return {}
        import torch
        from transformers import BatchFeature

        from tunesmith_multimodal.images import open_image
        from tunesmith_multimodal.processors import process

        limits = (self._options.image_min_pixels, self._options.image_max_pixels)
        try:
            opened = [open_image(self._found(one), *limits) for one in media]
            seen, texts = process(processor, opened, self._options.cuts)
        except ValueError as error:
            raise TunesmithError(f"An image that was there when its text was made cannot be seen any more: {error}") from error
        kinds = torch.tensor(processor.create_mm_token_type_ids(ids.tolist()))
        self._check(processor, ids, texts, media)
        found = dict(BatchFeature(seen, tensor_type="pt"))
        names = processor.model_input_names
        return found | {name: kinds for name in ("mm_token_type_ids", "token_type_ids") if name in names}

    def _check(self, processor: Any, ids: torch.Tensor, texts: Sequence[str], media: Sequence[Media]) -> None:
        marks = set(processor.image_token_ids)
        wanted = sum(
            token in marks for text in texts for token in processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        )
        there = sum(int((ids == mark).sum()) for mark in marks)
        if wanted != there:
            names = ", ".join(one.path for one in media[:3])
            why = f"one of {names} is not what it was" if media else "they are not there"
            what = f"Images take {wanted} tokens, and their rows hold {there}: {why}."
            raise TunesmithError(what, "Prepare the data anew: overwrite_cache: true" if media else "")

    def _blank(self) -> dict[str, torch.Tensor]:
        """What the model sees of a small black picture."""
        if not self._black:
            from PIL import Image
            from transformers import BatchFeature

            from tunesmith_multimodal.processors import process

            seen, _ = process(self._processor, [Image.new("RGB", (32, 32))])
            self._black = dict(BatchFeature(seen, tensor_type="pt"))
        return self._black

    # -- weights -------------------------------------------------------------------------------------------------------

    def still(self, model: PreTrainedModel) -> Sequence[str]:
        """See :meth:`tunesmith.contracts.MediaReader.still`."""
        from tunesmith_multimodal.parts import still_parts

        return still_parts(model, self._options)

    def look_along(self, model: PreTrainedModel) -> None:
        """See :meth:`tunesmith.contracts.MediaReader.look_along`."""
        from tunesmith_multimodal.blank import look_along

        look_along(model, self._blank)
