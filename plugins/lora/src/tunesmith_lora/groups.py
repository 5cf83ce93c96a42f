"""LoRA+: another learning rate for the second matrix (Hayou, Ghosh and Yu 2024, arXiv:2402.12354, §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_lora.options import LoraOptions

if TYPE_CHECKING:
    import torch


def loraplus_groups(model: torch.nn.Module, options: LoraOptions, rate: float, decay: float) -> list[dict[str, Any]]:
    """Groups with their own ``lr``: the rest (``rate``), second matrices (times the ratio), those of embeddings.

    Weights with one dimension do not decay.
    """
    assert options.loraplus_lr_ratio is not None
    rates = {"first": rate, "second": rate * options.loraplus_lr_ratio, "embedding": options.loraplus_lr_embedding}
    held: dict[tuple[str, bool], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            held.setdefault((_kind(name), parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "lr": rates[kind], "weight_decay": decay if decays else 0.0}
        for (kind, decays), parameters in sorted(held.items(), key=lambda item: item[0])
    ]


def _kind(name: str) -> str:
    if "lora_embedding_B" in name:
        return "embedding"
    return "second" if ".lora_B." in name else "first"
