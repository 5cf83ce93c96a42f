"""LoftQ's first step (Li et al. 2023, arXiv:2310.08659): the update starts as the best low-rank part of what quantising lost.

peft's own version runs on a GPU only and leaves the update's scale out of account; this one needs no device in particular, and
the update times its scale is what is missing in the quantised weight.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from safetensors import safe_open
from tunesmith import TunesmithError

ADAPTER = "default"


@torch.no_grad()
def start_from_loss(model: Any, folder: Path) -> None:
    """Give each update over a quantised layer that start; the full weights are read from ``folder`` one by one.

    :raises TunesmithError: nothing is quantised, or a layer's weight is not in the folder under its name.
    """
    where = _places(folder)
    layers = [(name, module) for name, module in model.get_base_model().named_modules() if _is_quantized(module)]
    if not layers:
        what = "lora_init: loftq makes up for what quantising lost, and nothing is quantised."
        raise TunesmithError(what, "Write quantization_bit: 4.")
    for name, layer in layers:
        full = _read(where, f"{name}.weight", folder).to(layer.weight.device, torch.float32)
        lost = full - dequantize_module_weight(layer.get_base_layer()).float()
        left, values, right = torch.linalg.svd(lost, full_matrices=False)
        rank = layer.r[ADAPTER]
        root = (values[:rank] / layer.scaling[ADAPTER]).sqrt()
        first, second = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        first.data = (root[:, None] * right[:rank]).to(first.dtype).contiguous()
        second.data = (left[:, :rank] * root).to(second.dtype).contiguous()


def _is_quantized(module: Any) -> bool:
    return isinstance(module, LoraLayer) and ADAPTER in module.lora_A and hasattr(module.get_base_layer().weight, "quant_state")


def _places(folder: Path) -> dict[str, Path]:
    """The file of every weight."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as held:
            found |= dict.fromkeys(held.keys(), file)
    return found


def _read(where: dict[str, Path], name: str, folder: Path) -> torch.Tensor:
    for candidate in (name, name.partition(".")[2], f"model.{name}"):
        if candidate in where:
            with safe_open(where[candidate], framework="pt", device="cpu") as held:
                tensor: torch.Tensor = held.get_tensor(candidate)
                return tensor
    what = f"{folder} holds no weight {name}, which LoftQ compares with."
    raise TunesmithError(what, "Use a model in safetensors as published.")
