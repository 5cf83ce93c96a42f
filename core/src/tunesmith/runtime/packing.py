"""Weights in few bits: models that are quantised already, and what of a model is packed and what is not, in words."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from transformers import PreTrainedModel
from transformers.quantizers.auto import AutoQuantizationConfig

from tunesmith.contracts import Quantizer
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import quantization_of, read_json

if TYPE_CHECKING:
    from tunesmith.plan import ModelWish, Plan

log = logging.getLogger(__name__)


class AlreadyPacked(Quantizer):
    """Reads models that are quantised already as transformers does, or into plain weights where the wish is not packed.

    Subclass it and name the classes of quantised layers; one that has such a class among its ancestors counts.
    """

    layers: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def arguments(self, wish: ModelWish, dtype: torch.dtype) -> dict[str, Any]:
        """Nothing for packed weights; else the model's own configuration, with the word to undo it."""
        from tunesmith.runtime.loading import model_folder

        if wish.packed:
            return {}
        held = quantization_of(read_json(model_folder(self.plan, str(wish.path)), "config.json"))
        return {"quantization_config": AutoQuantizationConfig.from_dict({**held, "dequantize": True})}

    def after_load(self, model: PreTrainedModel, wish: ModelWish) -> PreTrainedModel:
        """Plain weights forget where they came from: transformers would pack them again when it saves them."""
        if not wish.packed:
            model._weight_conversions = None
        return model

    def is_packed(self, module: torch.nn.Module) -> bool:
        """Whether a module is a quantised layer."""
        return not self.layers.isdisjoint(kind.__name__ for kind in type(module).__mro__)

    def check(self, model: PreTrainedModel, wish: ModelWish) -> None:
        """There are quantised layers exactly where the wish is packed.

        :raises TunesmithError: there is none, or one is left.
        """
        packed = [module for module in model.modules() if self.is_packed(module)]
        if wish.packed and not packed:
            hint = f"It should have layers of the kind {' or '.join(sorted(self.layers))}."
            raise TunesmithError(f"No layer of {type(model).__name__} from {wish.path} is quantised.", hint)
        if not wish.packed and packed:
            what = f"{len(packed)} layers of {type(model).__name__} from {wish.path} are still quantised."
            raise TunesmithError(what, "Give the model that these weights were made from.")
        log.info(describe_packed(model, packed))


def describe_packed(model: Any, packed: Collection[Any]) -> str:
    """One line for the log about a model in which the layers ``packed`` are quantised, if any."""
    if not packed:
        return "quantised weights were loaded into plain ones"
    return f"{len(packed)} layers are quantised; matrices that are not: {_listed(plain_matrices(model, packed)) or 'none'}"


def plain_matrices(model: Any, packed: Collection[Any]) -> Counter[str]:
    """The last two words of the names of matrices outside the layers ``packed``, and how often each occurs."""
    inside = {id(parameter) for layer in packed for parameter in layer.parameters()}
    matrices = (name for name, p in model.named_parameters() if p.ndim > 1 and id(p) not in inside)
    return Counter(".".join(name.removesuffix(".weight").split(".")[-2:]) for name in matrices)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} (×{count})" if count > 1 else name for name, count in counts.items())
