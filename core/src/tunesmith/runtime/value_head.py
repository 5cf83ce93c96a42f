"""A value head: one number for every place of a text, from the last hidden state there.

It lies inside the model, so that one pass gives logits and values: the output has ``value`` of shape (rows, length) beside
``logits``. It is kept in a file of its own, ``value_head.safetensors``, with the names that other programs know:
``v_head.summary.weight`` (1, hidden) and ``v_head.summary.bias`` (1,).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tunesmith.errors import TunesmithError
from tunesmith.model_heads import VALUE_HEAD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "v_head"


class ValueHead(torch.nn.Module):
    """A linear layer in float32, whatever the model computes in. It starts as Stiennon et al. 2020 (arXiv:2009.01325) do:
    with weights of variance 1 / (hidden + 1)."""

    def __init__(self, hidden: int, device: torch.device) -> None:
        super().__init__()
        self.summary = torch.nn.Linear(hidden, 1, device=device, dtype=torch.float32)
        torch.nn.init.normal_(self.summary.weight, std=(hidden + 1) ** -0.5)
        torch.nn.init.zeros_(self.summary.bias)
        self._seen: torch.Tensor | None = None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, length, hidden) → (rows, length)."""
        with torch.autocast(hidden.device.type, enabled=False):
            values: torch.Tensor = self.summary(hidden.float()).squeeze(-1)
        return values

    def see(self, decoder: Any, inputs: Any, output: Any) -> None:
        """A hook on the decoder: keep what the head reads."""
        self._seen = output[0] if isinstance(output, tuple) else output.last_hidden_state

    def rate(self, model: Any, inputs: Any, output: Any) -> Any:
        """A hook on the model: add ``value`` to its output."""
        if self._seen is not None:
            output["value"] = self(self._seen)
            self._seen = None
        return output


def add_value_head(model: PreTrainedModel, saved: Path | None) -> None:
    """Give ``model`` a value head: the one in the folder ``saved``, or a new one.

    :raises TunesmithError: the saved one is damaged or belongs to a model of another size.
    """
    plain = under_adapter(model)
    hidden = int(plain.config.get_text_config().hidden_size)
    head = ValueHead(hidden, next(plain.parameters()).device)
    if saved is not None:
        _load(head, saved / VALUE_HEAD)
    plain.add_module(NAME, head)
    plain.get_decoder().register_forward_hook(head.see)
    plain.register_forward_hook(head.rate)


def _load(head: ValueHead, file: Path) -> None:
    try:
        tensors = {name.removeprefix(f"{NAME}."): tensor for name, tensor in load_file(file).items()}
        head.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise TunesmithError(
            f"{file} does not fit the model: {reason}", "It belongs to another model, or is damaged."
        ) from error


def under_adapter(model: Any) -> Any:
    """The model itself, without the adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def value_head(model: Any) -> ValueHead | None:
    """The value head inside ``model``, if it has one."""
    found = getattr(under_adapter(model), NAME, None)
    return found if isinstance(found, ValueHead) else None


@contextmanager
def head_aside(model: Any) -> Iterator[ValueHead | None]:
    """Within it, ``model`` saves itself as if it had no value head."""
    plain, head = under_adapter(model), value_head(model)
    if head is not None:
        del plain._modules[NAME]
    try:
        yield head
    finally:
        if head is not None:
            plain.add_module(NAME, head)


def write_value_head(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write ``value_head.safetensors``. ``tensors``: the weights with any prefix before ``summary``."""
    named = {f"{NAME}.summary.{name.rpartition('.')[2]}": t.detach().cpu().contiguous() for name, t in tensors.items()}
    save_file(named, folder / VALUE_HEAD, {"format": "pt"})


def take_value_head(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take the head's weights out of a whole model's ``state``."""
    return {name: state.pop(name) for name in list(state) if f"{NAME}.summary." in name}
