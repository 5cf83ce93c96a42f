"""The tuner ``adapter``: bottleneck adapters (Houlsby et al. 2019, arXiv:1902.00751; Pfeiffer et al. 2021, arXiv:2005.00247;
parallel ones: He et al. 2022, arXiv:2110.04366)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import nn
from tunesmith import TunesmithError
from tunesmith.contracts import Tuner
from tunesmith.runtime.whole_weights import size_of

from tunesmith_bottleneck.network import NAME, Bottleneck, Form, fold, insert, remove
from tunesmith_bottleneck.options import BottleneckOptions
from tunesmith_bottleneck.places import find_parts, last_matrix
from tunesmith_bottleneck.plugin import KIND

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class AdapterTuner(Tuner):
    """Adds small networks inside every layer; nothing else learns."""

    def __init__(self, plan: Plan) -> None:
        self._options = plan.options(BottleneckOptions)

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Put a network into each place of ``bottleneck_type``.

        :raises TunesmithError: the model's layers are built in a way that is not known.
        """
        options, width = self._options, model.config.get_text_config().hidden_size
        size = options.bottleneck_size or max(1, width // options.bottleneck_reduction)
        form = Form(
            options.bottleneck_type, size, options.bottleneck_activation, options.bottleneck_scaling, options.bottleneck_dropout
        )
        return _put_in(model.requires_grad_(False), form)

    def load(self, model: PreTrainedModel, path: Path, *, trainable: bool) -> PreTrainedModel:
        """Put the networks in ``path`` into ``model``; what they are made of is said there.

        :raises TunesmithError: there are none, or they fit another model.
        """
        missing = next((name for name in (CONFIG, WEIGHTS) if not (path / name).is_file()), None)
        config = {} if missing else json.loads((path / CONFIG).read_text(encoding="utf-8"))
        if missing or config.get("adapter_type") != KIND:
            reason = f"{missing} is missing" if missing else f"{CONFIG} says something else"
            raise TunesmithError(f"{path} holds no bottleneck adapter: {reason}.", "Give the folder that one was saved in.")
        _put_in(model.requires_grad_(False), Form(**{name: config[name] for name in Form.__dataclass_fields__}))
        saved, own = load_file(path / WEIGHTS), _weights(model)
        if {name: tensor.shape for name, tensor in saved.items()} != {name: tensor.shape for name, tensor in own.items()}:
            what = f"The adapter in {path} does not fit {type(model).__name__}: {_difference(saved, own)}."
            raise TunesmithError(what, "Look at model_name_or_path.")
        model.load_state_dict(saved, strict=False)
        for _, network in _networks(model):
            network.requires_grad_(trainable)
        return model

    def save(self, model: PreTrainedModel, directory: Path) -> None:
        """Write the networks as safetensors, and what they are made of as JSON."""
        directory.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in _weights(model).items()}
        save_file(weights, directory / WEIGHTS, {"format": "pt"})
        form = next(network.form for _, network in _networks(model))
        told = {"adapter_type": KIND, "base_model_name_or_path": model.name_or_path or None, **asdict(form)}
        (directory / CONFIG).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Fold linear networks into the matrices before them.

        :raises TunesmithError: something bends their middle, they lie beside their part, or no single matrix is before them.
        """
        held = list(_networks(model))
        form = held[0][1].form
        if not form.linear:
            why = "it lies beside the feed-forward part" if form.parallel else f"{form.activation} bends its middle"
            raise TunesmithError(f"The adapter cannot be merged: {why}.", "Serve it beside its model instead.")
        matrices = {name: last_matrix(model.get_submodule(name)) for name, _ in held}
        if without := [name for name, matrix in matrices.items() if matrix is None]:
            raise TunesmithError(f"The adapter cannot be merged: {without[0]} ends in no single matrix.", "Serve it instead.")
        for name, network in held:
            fold(matrices[name], network)
            remove(model.get_submodule(name))
        return model

    @contextmanager
    def without(self, model: PreTrainedModel) -> Iterator[None]:
        """Within it, ``model`` answers as its base would."""
        held = [network for _, network in _networks(model)]
        try:
            for network in held:
                network.enabled = False
            yield
        finally:
            for network in held:
                network.enabled = True

    def describe(self, model: PreTrainedModel) -> list[str]:
        """How many networks there are, and how much learns."""
        held = [network for _, network in _networks(model)]
        learns = sum(size_of(weight) for weight in model.parameters() if weight.requires_grad)
        total = sum(size_of(weight) for weight in model.parameters())
        form = held[0].form
        return [
            f"{len(held)} {form.type} adapters, {form.size} wide: {learns:,} of {total:,} weights learn ({learns / total:.2%})"
        ]


def _put_in(model: PreTrainedModel, form: Form) -> PreTrainedModel:
    width = model.config.get_text_config().hidden_size
    for parts in find_parts(model):
        for name in (parts.mixer, parts.feed_forward) if form.type == "houlsby" else (parts.feed_forward,):
            part = model.get_submodule(name)
            if form.parallel and isinstance(part, nn.Linear):
                what = f"{type(model).__name__}: the feed-forward part is no module of its own, so nothing can lie beside it."
                raise TunesmithError(what, "Write bottleneck_type: pfeiffer.")
            device = next(part.parameters()).device
            insert(part, Bottleneck(width, form).to(device))
    if getattr(model, "is_quantized", False):
        # The one mark by which transformers' trainer knows that something is there to learn beside weights in few bits.
        model._hf_peft_config_loaded = True
    return model


def _networks(model: nn.Module) -> Iterator[tuple[str, Bottleneck]]:
    """Every network with the name of the part that it belongs to."""
    for name, module in model.named_modules():
        if isinstance(module, Bottleneck):
            yield name.removesuffix(f".{NAME}"), module


def _weights(model: nn.Module) -> dict[str, Any]:
    return {
        f"{part}.{NAME}.{name}": weight for part, network in _networks(model) for name, weight in network.named_parameters()
    }


def _difference(saved: dict[str, Any], own: dict[str, Any]) -> str:
    for name in sorted(saved.keys() | own.keys()):
        if name not in own or name not in saved:
            return f"{name} is only in {'the adapter' if name in saved else 'the model'}"
        if saved[name].shape != own[name].shape:
            return f"{name} is {tuple(saved[name].shape)} there and {tuple(own[name].shape)} here"
    return "nothing"
