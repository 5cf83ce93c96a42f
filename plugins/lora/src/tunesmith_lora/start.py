"""What an adapter that moved a part of the frozen weights needs beyond a plain one: where it started.

PiSSA (Meng, Wang and Zhang 2024, arXiv:2404.02948, §3) moves the principal part of a weight into the update and leaves the
residual ``W − s·B₀A₀`` in its place; OLoRA, CorDA and LoRA-GA do so with other parts. The start ``A₀, B₀`` is kept beside the
adapter: some draw at random or depend on data, so computing it again would leave another residual, and ``W`` itself could not
be given back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file, save_file

from tunesmith_lora.merging_facts import START

ADAPTER = "default"


@dataclass(frozen=True)
class Start:
    """``A₀`` (rank, in) and ``B₀`` (out, rank) of each layer by its name, in float32 on the CPU."""

    first: Mapping[str, torch.Tensor]
    second: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, model: torch.nn.Module) -> Start:
        """The factors as they are now."""
        held = {name: _factors(layer) for name, layer in layers(model)}
        copies = {name: tuple(factor.detach().cpu().clone() for factor in pair) for name, pair in held.items()}
        return cls({name: pair[0] for name, pair in copies.items()}, {name: pair[1] for name, pair in copies.items()})

    @classmethod
    def read(cls, folder: Path) -> Start | None:
        """What :meth:`write` left in ``folder``, if anything."""
        if not (folder / START).is_file():
            return None
        held = load_file(folder / START)
        first = {name.removesuffix(".lora_A"): tensor for name, tensor in held.items() if name.endswith(".lora_A")}
        return cls(first, {name: held[f"{name}.lora_B"] for name in first})

    def write(self, folder: Path) -> None:
        """Save as safetensors."""
        first = {f"{name}.lora_A": tensor for name, tensor in self.first.items()}
        save_file(first | {f"{name}.lora_B": tensor for name, tensor in self.second.items()}, folder / START)

    def take_out(self, model: torch.nn.Module) -> None:
        """Leave in the base weights what is not in the start: the same arithmetic as when it was made."""
        for name, layer in layers(model):
            base = layer.get_base_layer().weight
            first, second = self.first[name].to(base.device), self.second[name].to(base.device)
            rest = _turned(layer, base.data.to(torch.float32)) - layer.scaling[ADAPTER] * second @ first
            base.data = _turned(layer, rest.to(base.dtype))

    @contextmanager
    def in_place(self, model: torch.nn.Module) -> Iterator[None]:
        """Within it, the factors are those of the start, so that the model answers as its base would."""
        learned = {name: tuple(factor.data for factor in _factors(layer)) for name, layer in layers(model)}
        saved = [module for module in model.modules() if isinstance(module, ModulesToSaveWrapper)]
        dropouts = [layer.lora_dropout for _, layer in layers(model) if layer.lora_dropout.training]
        try:
            self._put(model)
            for module in saved:
                module.enable_adapters(False)
            for dropout in dropouts:
                dropout.eval()
            yield
        finally:
            for name, layer in layers(model):
                for factor, data in zip(_factors(layer), learned[name], strict=True):
                    factor.data = data
            for module in saved:
                module.enable_adapters(True)
            for dropout in dropouts:
                dropout.train()

    def _put(self, model: torch.nn.Module) -> None:
        for name, layer in layers(model):
            for factor, start in zip(_factors(layer), (self.first[name], self.second[name]), strict=True):
                factor.data = start.to(factor.device, factor.dtype)

    def as_plain(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A saved adapter without its start: ``B A − B₀ A₀`` as one update of twice the rank."""
        plain = dict(state)
        for name in self.first:
            first, second = (_key(state, name, letter) for letter in "AB")
            starts = self.first[name].to(plain[first].dtype), self.second[name].to(plain[second].dtype)
            plain[first] = torch.cat([plain[first].cpu(), -starts[0]], dim=0)
            plain[second] = torch.cat([plain[second].cpu(), starts[1]], dim=1)
        return plain


def layers(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers that have an update, with their names in the base model; embeddings start from nothing and are left out."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A:
            yield name.removeprefix("base_model.model."), module


def doubled(config: Any) -> Any:
    """The configuration of an adapter that :meth:`Start.as_plain` made: twice the rank, the same scale."""
    grown = 2**0.5 if config.use_rslora else 2
    return replace(
        config,
        r=config.r * 2,
        lora_alpha=config.lora_alpha * grown,
        rank_pattern={name: rank * 2 for name, rank in config.rank_pattern.items()},
        alpha_pattern={name: alpha * grown for name, alpha in config.alpha_pattern.items()},
        init_lora_weights=True,
    )


def _factors(layer: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight


def _turned(layer: Any, weight: torch.Tensor) -> torch.Tensor:
    """Some models hold their weights the other way round (fan in, fan out)."""
    return weight.T if getattr(layer, "fan_in_fan_out", False) else weight


def _key(state: Mapping[str, torch.Tensor], name: str, letter: str) -> str:
    return next(key for key in state if key.endswith(f"{name}.lora_{letter}.weight"))
