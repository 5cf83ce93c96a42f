"""The parts of a model that sees: what sees and hears, what speaks, and what is between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from tunesmith_multimodal.options import MultimodalOptions

#: What parts inside the tower are called that hand on to the language model.
BETWEEN = ("merger", "projector", "connector")


def still_parts(model: PreTrainedModel, options: MultimodalOptions) -> list[str]:
    """Names of the modules that the options keep as they are; none for a model that only reads."""
    towers = [tower for kind in ("image", "audio") if (tower := _tower(model, kind)) is not None]
    if not towers:
        return []
    frozen: list[nn.Module] = []
    for tower in towers:
        for child_name, child in tower.named_children():
            between = any(word in child_name for word in BETWEEN)
            if options.freeze_multi_modal_projector if between else options.freeze_vision_tower:
                frozen.append(child)
    decoder = model.get_decoder()
    if options.freeze_language_model:
        frozen += [module for module in (decoder, model.get_output_embeddings()) if module is not None]
    if options.freeze_multi_modal_projector:
        frozen += _others(model, [*towers, decoder])
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(module)] for module in frozen if list(module.parameters())]


def _tower(model: PreTrainedModel, kind: str) -> nn.Module | None:
    found: nn.Module = model.get_encoder(modality=kind)
    return None if found in (model, model.base_model, model.get_decoder()) else found


def _others(model: PreTrainedModel, known: list[nn.Module]) -> Iterator[nn.Module]:
    """What stands beside towers and language model in the model that holds them."""
    holder = next((one for one in model.modules() if any(child is known[-1] for child in one.children())), None)
    head = model.get_output_embeddings()
    children = holder.children() if holder is not None else ()
    return (child for child in children if child is not head and all(child is not one for one in known))
