"""Where in a decoder the networks go, found by how its layers are built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn
from tunesmith import TunesmithError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: What attention, or what stands in its place, is called in a layer.
MIXERS = ("attn", "attention", "mixer", "mamba", "conv", "rec")
#: What the feed-forward part is called.
FEED_FORWARD = ("mlp", "feed_forward", "ffn", "moe", "experts", "ff", "feedforward")
#: Where that part is no module of its own, its last matrix.
LAST_MATRIX = ("fc2", "wo", "down_proj")


@dataclass(frozen=True)
class Parts:
    """The two parts of one layer, by their full names."""

    mixer: str
    feed_forward: str


def find_parts(model: PreTrainedModel) -> list[Parts]:
    """The parts of every layer of the text model.

    :raises TunesmithError: a layer is built in a way that is not known; the message says what is in it.
    """
    prefix, layers = _layers(model)
    return [_parts(model, f"{prefix}.{number}", layer) for number, layer in enumerate(layers)]


def _layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    count: int = model.config.get_text_config().num_hidden_layers
    inside = {id(module) for module in model.get_decoder().modules()}
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    fitting = [(name, module) for name, module in lists if id(module) in inside and len(module) == count]
    if not fitting:
        what = f"{type(model).__name__} has no list of {count} layers to put adapters into."
        raise TunesmithError(what, "Use finetuning_type: lora.")
    return min(fitting, key=lambda one: one[0].count("."))


def _parts(model: PreTrainedModel, name: str, layer: nn.Module) -> Parts:
    children = {child: module for child, module in layer.named_children() if _may_be_a_part(child, module)}
    mixer = _named(children, MIXERS)
    feed_forward = _named(children, FEED_FORWARD) or next((one for one in LAST_MATRIX if one in children), None)
    if mixer is None or feed_forward is None or mixer == feed_forward:
        lacks = "attention" if mixer is None else "feed-forward part"
        held = ", ".join(f"{child} ({type(module).__name__})" for child, module in layer.named_children())
        what = f"{type(model).__name__}: no {lacks} is known in {name}, which holds {held}."
        raise TunesmithError(what, "Use finetuning_type: lora.")
    return Parts(f"{name}.{mixer}", f"{name}.{feed_forward}")


def _may_be_a_part(name: str, module: nn.Module) -> bool:
    return "norm" not in name and not name.startswith("ln") and any(True for _ in module.parameters())


def _named(children: dict[str, Any], words: tuple[str, ...]) -> str | None:
    """The child that is called by one of the words, in its name first and in its class else."""
    for child in children:
        if any(word in child.lower().split("_") or word == child.lower() for word in words) or child.lower().endswith(words):
            return child
    return next((child for child, module in children.items() if type(module).__name__.lower().endswith(words)), None)


def last_matrix(part: nn.Module) -> nn.Linear | None:
    """The matrix whose answer is the part's answer; ``None`` where there is no single one."""
    if isinstance(part, nn.Linear):
        return part
    for name in ("o_proj", "out_proj", "down_proj", "dense_4h_to_h", "dense", "fc2", "w2", "wo"):
        found = getattr(part, name, None)
        if isinstance(found, nn.Linear):
            return found
    return None
