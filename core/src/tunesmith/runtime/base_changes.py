"""What a run changes in a model before its tuner comes: stretched positions, rows for new tokens.

A tuner that saves whole models saves this too. Beside an adapter it is written into ``base_changes.json`` (values for the
model's configuration, and how many rows its tables have) and ``base_rows.safetensors`` (``input`` and, where the output head
has a table of its own, ``output``: (rows, width)). Whoever loads the adapter changes its model in the same way first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from tunesmith.model_folder import BASE_CHANGES, read_json
from tunesmith.model_stores import place_in
from tunesmith.plan import ModelWish, Plan
from tunesmith.rope import stretch
from tunesmith.runtime.router_loss import balance

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

ROWS = "base_rows.safetensors"
#: The values of a configuration that may be changed.
CONFIG = ("rope_parameters", "max_position_embeddings")


@dataclass(frozen=True)
class BaseChanges:
    """``config``: values of the language model's configuration. ``size``: how many rows its tables have; ``ids``: which of them
    are in ``rows``."""

    config: Mapping[str, Any]
    size: int
    ids: tuple[int, ...]
    rows: Mapping[str, torch.Tensor]

    def write(self, folder: Path) -> None:
        """Save into an adapter's folder."""
        plain = {"config": dict(self.config), "size": self.size, "ids": list(self.ids)}
        (folder / BASE_CHANGES).write_text(json.dumps(plain, indent=1), encoding="utf-8")
        if self.rows:
            save_file(dict(self.rows), folder / ROWS, {"format": "pt"})


def changed_config(config: PreTrainedConfig, plan: Plan, wish: ModelWish, *, training: bool) -> PreTrainedConfig:
    """The configuration with which a model's adapters were learned, stretched as the plan asks where it is to learn.

    :raises TunesmithError: it cannot be stretched, or the model has no router to weigh a loss of.
    """
    text = config.get_text_config()
    for name in wish.adapters:
        folder = place_in(plan, name).found() / (_value(plan, "adapter_folder") or "")
        for key, value in read_json(folder, BASE_CHANGES).get("config", {}).items():
            setattr(text, key, value)
    if training and wish.role == "policy":
        _stretch(text, plan)
        balance(text, plan)
    return config


def _value(plan: Plan, key: str) -> Any:
    return plan[key] if key in plan.settings else None


def _stretch(text: Any, plan: Plan) -> None:
    kind = _value(plan, "rope_scaling")
    if kind is not None and (text.rope_parameters or {}).get("rope_type") != kind:
        found = stretch(text.to_dict(), kind, int(_value(plan, "cutoff_len")))
        text.rope_parameters, text.max_position_embeddings = dict(found.parameters), found.longest


def changes_of(model: PreTrainedModel, plan: Plan, folder: Path | None, ids: Sequence[int]) -> BaseChanges | None:
    """What this run has changed, or nothing.

    :param folder: the adapter or checkpoint whose changes it took over.
    :param ids: further rows that it set.
    """
    plain = read_json(folder, BASE_CHANGES) if folder is not None else {}
    text = model.config.get_text_config()
    stretched = _value(plan, "rope_scaling") is not None or plain.get("config")
    config = {key: getattr(text, key) for key in CONFIG} if stretched else {}
    every = tuple(sorted({*plain.get("ids", ()), *ids}))
    if not config and not every:
        return None
    rows = {name: table.detach()[list(every)].cpu().clone() for name, table in tables(model).items()} if every else {}
    return BaseChanges(config, model.get_input_embeddings().weight.shape[0], every, rows)


def change_rows(model: PreTrainedModel, folder: Path | None) -> None:
    """Give ``model`` the rows that an adapter in ``folder`` was learned over, if it says so."""
    plain = read_json(folder, BASE_CHANGES) if folder is not None else {}
    if folder is None or not plain.get("ids"):
        return
    if model.get_input_embeddings().weight.shape[0] != plain["size"]:
        model.resize_token_embeddings(plain["size"], mean_resizing=False)
    held = load_file(folder / ROWS)
    for name, table in tables(model).items():
        set_rows(table, plain["ids"], held[name])


def tables(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The embedding, and the output head where it is a table of its own."""
    found = {"input": model.get_input_embeddings().weight}
    head = model.get_output_embeddings()
    if head is not None and head.weight is not found["input"]:
        found["output"] = head.weight
    return found


@torch.no_grad()
def set_rows(table: torch.Tensor, ids: Sequence[int], rows: torch.Tensor) -> None:
    """Write ``rows`` into ``table``."""
    table[list(ids)] = rows.to(table.device, table.dtype)
