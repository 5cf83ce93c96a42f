"""A model's own processor, from transformers, as far as it is about images.

Processors of models that also see videos want torchvision for those; here they are made without that part. Images go through
the implementation on Pillow and numpy, so that what a model sees does not depend on what is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tunesmith import TunesmithError
from tunesmith.model_folder import read_json

from tunesmith_multimodal.options import CUTS


@cache
def load_processor(folder: Path) -> Any:
    """The processor in ``folder`` with its tokenizer and its part for images.

    :raises TunesmithError: transformers has none for this model, or it is not made for images.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    kind = _class_of(folder)
    try:
        parts = {
            "image_processor": AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True),
            "tokenizer": AutoTokenizer.from_pretrained(folder, local_files_only=True),
        }
        if "image_processor" not in kind.get_attributes():
            raise TunesmithError(f"{kind.__name__}, the processor of {folder}, is not for images.")
        processor = _without_the_rest(kind)(**{name: parts.get(name) for name in kind.get_attributes()}, **_own(folder, kind))
    except (ImportError, OSError, ValueError, TypeError, AttributeError) as error:
        raise TunesmithError(f"The processor in {folder} cannot be used: {error}") from error
    if getattr(processor, "image_token", None) is None:
        raise TunesmithError(f"{kind.__name__} names no token that stands for an image, so that its model cannot be used.")
    return processor


def _class_of(folder: Path) -> Any:
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    files = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
    named = [name for file in files if (name := read_json(folder, file).get("processor_class"))]
    known = PROCESSOR_MAPPING_NAMES.get(read_json(folder, "config.json").get("model_type", ""))
    for name in (*named, *([known] if isinstance(known, str) else [])):
        if (found := getattr(transformers, name, None)) is not None:
            return _on_pillow(found, name) if getattr(found, "is_dummy", False) else found
    said = f"{named[0]}, which this transformers does not have" if named else "no processor_class"
    raise TunesmithError(f"The processor of {folder} cannot be told: its files name {said}.")


def _on_pillow(placeholder: Any, name: str) -> Any:
    """The class behind transformers' placeholder for one whose module asks for torchvision: what it wants of that is a function
    for sizes, which the module for Pillow has as well.

    :raises ImportError: that module does not do.
    """
    import sys
    from importlib import import_module

    module: str = placeholder.__module__
    asked = module.replace(".processing_", ".image_processing_")
    sys.modules[asked] = import_module(module.replace(".processing_", ".image_processing_pil_"))
    try:
        return getattr(import_module(module), name)
    finally:
        del sys.modules[asked]


def _own(folder: Path, kind: Any) -> dict[str, Any]:
    """The settings of the processor itself, which are none of its parts'."""
    import inspect

    known = set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs", "chat_template", *kind.get_attributes()}
    return {key: value for key, value in read_json(folder, "processor_config.json").items() if key in known}


def _without_the_rest(kind: Any) -> Any:
    """The class, content to lack the parts that are given as ``None``."""

    class ForImages(kind):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            """As transformers', for what is there."""
            return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    ForImages.__name__ = kind.__name__
    return ForImages


def process(processor: Any, images: list[Any], cuts: Mapping[str, bool] = {}) -> tuple[dict[str, Any], list[str]]:
    """What the model wants to see of images, as arrays, and the text that stands for each.

    :param cuts: keys of :data:`~tunesmith_multimodal.options.CUTS` that are not to be as the processor itself has them.
    :raises ValueError: the processor refuses one, as for its proportions.
    :raises TunesmithError: it knows nothing of such cuts.
    """
    merged = processor._merge_kwargs(tokenizer_init_kwargs=processor.tokenizer.init_kwargs)["images_kwargs"]
    for key, value in cuts.items():
        if not hasattr(processor.image_processor, CUTS[key]):
            raise TunesmithError(f"{key}: {type(processor).__name__} cuts no images like that.", "Leave it out.")
        merged[CUTS[key]] = value
    seen, texts = processor._process_images(images, **merged)
    wanted = set(processor.model_input_names) - set(processor.unused_input_names)
    return {name: value for name, value in seen.items() if name in wanted}, list(texts)
