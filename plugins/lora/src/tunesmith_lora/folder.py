"""An adapter's folder: ``adapter_config.json`` and ``adapter_model.safetensors``, as peft and other programs read them."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft import PeftConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from tunesmith import TunesmithError

from tunesmith_lora.options import UNCONVERTED
from tunesmith_lora.start import Start, doubled

if TYPE_CHECKING:
    import torch

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def write_adapter(model: Any, folder: Path, start: Start | None, *, convert: bool) -> None:
    """Save the update of ``model``; with ``convert`` as a plain one, and the one it came from below it to go on from.

    :param start: where it started, for one that moved a part of the frozen weights.
    """
    state, config = get_peft_model_state_dict(model, save_embedding_layers=False), model.peft_config["default"]
    if start is None:
        _write(state, config, folder)
        return
    own = folder / UNCONVERTED if convert else folder
    _write(state, config, own)
    start.write(own)
    if convert:
        _write(start.as_plain(state), doubled(config), folder)


def _write(state: dict[str, torch.Tensor], config: PeftConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Two names of one tensor cannot share memory in a safetensors file.
    save_file(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}, folder / WEIGHTS, {"format": "pt"}
    )
    written = copy(config)
    written.inference_mode = True
    if isinstance(getattr(config, "target_modules", None), (set, list, tuple)):
        written.target_modules = sorted(config.target_modules)
    written.save_pretrained(folder)


def write_plain(model: Any, folder: Path) -> None:
    """Save the adapter of ``model`` as it is."""
    _write(get_peft_model_state_dict(model, save_embedding_layers=False), model.peft_config["default"], folder)


def read_config(folder: Path, kind: type[PeftConfig]) -> Any:
    """The configuration, of the class ``kind``, of the adapter in ``folder``.

    :raises TunesmithError: there is none, it is of another kind, or its weights would have to be unpickled.
    """
    if not (folder / CONFIG).is_file():
        raise TunesmithError(
            f"{folder} holds no adapter: {CONFIG} is missing.", "adapter_name_or_path wants the folder it is in."
        )
    config = PeftConfig.from_pretrained(folder)
    if type(config) is not kind:
        raise TunesmithError(f"The adapter in {folder} is of the kind {config.peft_type}.", "Pick the tuner that made it.")
    if not (folder / WEIGHTS).is_file():
        raise TunesmithError(
            f"{folder} holds no {WEIGHTS}.", "Adapters in other files are not read: convert it to safetensors."
        )
    return config
