"""The tuners whose learning weights are the model's own: ``full`` and ``freeze``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tunesmith import TunesmithError
from tunesmith.contracts import Tuner
from tunesmith.runtime.whole_weights import size_of

from tunesmith_full.options import FreezeOptions
from tunesmith_full.selection import choose

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan


class FullTuner(Tuner):
    """Every weight learns; the whole model is saved."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Let everything learn that is a number with a fraction.

        :raises TunesmithError: the weights are quantised, so that they cannot move.
        """
        return self._let_learn(model, frozenset(name for name, _ in model.named_parameters()))

    def load(self, model: PreTrainedModel, path: Path, *, trainable: bool) -> PreTrainedModel:
        """Copy the weights saved in ``path`` into ``model``.

        :raises TunesmithError: they are weights of another model.
        """
        saved = type(model).from_pretrained(path, dtype="auto").state_dict()
        _check_same_shapes(model, saved, path)
        model.load_state_dict(saved)
        return self.apply(model) if trainable else model.requires_grad_(False)

    def save(self, model: PreTrainedModel, directory: Path) -> None:
        """Write ``config.json`` and the whole weights, in their dtype, as ``model*.safetensors``."""
        model.save_pretrained(directory)

    def describe(self, model: PreTrainedModel) -> list[str]:
        """What learns, for the log."""
        learns = sum(size_of(parameter) for parameter in model.parameters() if parameter.requires_grad)
        total = sum(size_of(parameter) for parameter in model.parameters())
        return [f"{learns:,} of {total:,} weights learn ({learns / total:.2%})"]

    def _let_learn(self, model: PreTrainedModel, names: frozenset[str]) -> PreTrainedModel:
        for name, parameter in model.named_parameters():
            learns = name in names
            if learns and not parameter.is_floating_point():
                raise TunesmithError(f"The weight {name} is quantised and cannot learn.", "Use an adapter tuner, such as lora.")
            parameter.requires_grad_(learns)
        return model


class FreezeTuner(FullTuner):
    """Chosen layers and modules learn; the whole model is saved all the same."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._options = plan.options(FreezeOptions)

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Freeze all but what was chosen.

        :raises TunesmithError: a module is not found (the message lists those that are there), the model has too few
            layers, or nothing is left to learn.
        """
        names = [name for name, _ in model.named_parameters()]
        chosen = choose(names, name_of_layers(model), self._options)
        if not chosen:
            raise TunesmithError("Nothing is left to learn.", "Look at freeze_trainable_layers and freeze_trainable_modules.")
        return self._let_learn(model, chosen)

    def describe(self, model: PreTrainedModel) -> list[str]:
        """What learns, and what learns along because it shares its weight."""
        lines = super().describe(model)
        head, table = model.get_output_embeddings(), model.get_input_embeddings()
        if head is not None and head.weight is table.weight and table.weight.requires_grad:
            lines.append("the output head and the input embeddings share one weight, so both learn")
        return lines


def name_of_layers(model: PreTrainedModel) -> str:
    """The dotted name of the text model's list of layers (``"model.layers"``).

    :raises TunesmithError: it has none of the length its configuration states.
    """
    count: int = model.config.get_text_config().num_hidden_layers
    inside = {id(module) for module in model.get_decoder().modules()}
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)]
    fitting = [name for name, module in lists if id(module) in inside and len(module) == count]
    if not fitting:
        raise TunesmithError(f"{type(model).__name__} has no list of {count} layers.", "Use finetuning_type: full or lora.")
    shortest: str = min(fitting, key=lambda name: name.count("."))
    return shortest


def _check_same_shapes(model: PreTrainedModel, saved: dict[str, torch.Tensor], path: Path) -> None:
    own = model.state_dict()
    other = sorted(name for name in own.keys() | saved.keys() if name not in own or name not in saved)
    other += [name for name in own.keys() & saved.keys() if own[name].shape != saved[name].shape]
    if other:
        shown = ", ".join(other[:3]) + (" …" if len(other) > 3 else "")
        raise TunesmithError(f"{path} holds the weights of another model: {shown}", "Load it as model_name_or_path instead.")
