"""One tuner for every kind of adapter that peft offers: its options are those of peft's own configuration classes.

``tunesmith_lora.peft_tuner:loha`` is the tuner of the kind ``loha`` in ``peft_kinds.json``, and so for each name there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import peft
from peft import PeftConfig, get_peft_model
from tunesmith import TunesmithError
from tunesmith.contracts import Tuner
from tunesmith.layer_merge import LayerMerge

from tunesmith_lora.attaching import first_reason, fold_in, learning_share, put_on, task_of
from tunesmith_lora.by_layer import pieces
from tunesmith_lora.folder import read_config, write_plain
from tunesmith_lora.peft_kinds import PeftKind, kinds
from tunesmith_lora.targets import find_layers, find_norms, find_saved, shares_weight, shorten

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

#: Keys that choose among layers which are not linear.
NORMS = "ln_tuning_target"
FEED_FORWARD = "feedforward_modules"


class PeftTuner(Tuner):
    """Adds what peft's configuration of one kind describes, beside weights that stay as they are."""

    kind: ClassVar[PeftKind]

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._options = plan.options(self.kind.options)

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Add the adapter; nothing but it and ``additional_target`` learns.

        :raises TunesmithError: a target matches nothing, or peft cannot make this kind of adapter in that size.
        """
        config = self._config(model)
        try:
            return get_peft_model(model, config)
        except (ValueError, TypeError, ImportError, RuntimeError) as error:
            keys = ", ".join(key for key in self.kind.fields if key in self._plan.settings)
            what = f"{self.kind.name} cannot be put on {type(model).__name__}: {first_reason(error)}"
            raise TunesmithError(what, f"Look at {keys}." if keys else "") from error

    def load(self, model: PreTrainedModel, path: Path, *, trainable: bool) -> PreTrainedModel:
        """Put the adapter in ``path`` on ``model``; its own configuration holds, whatever the options say.

        :raises TunesmithError: there is no such adapter in ``path``, or it fits another model.
        """
        config = read_config(path, self._config_class())
        config.inference_mode = not trainable
        return put_on(model, path, config, trainable=trainable)

    def save(self, model: PreTrainedModel, directory: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``."""
        write_plain(model, directory)

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Fold the adapter into the weights, for kinds that can be."""
        return fold_in(model)

    def layer_merges(self, model: PreTrainedModel) -> Iterator[LayerMerge]:
        """One piece for each layer that has something of this adapter."""
        return pieces(model)

    @contextmanager
    def without(self, model: PreTrainedModel) -> Iterator[None]:
        """Within it, ``model`` answers as its base would."""
        with model.disable_adapter():
            yield

    def continues(self) -> bool:
        """Whether the last given adapter goes on learning: unless ``create_new_adapter`` asks for a new one."""
        return not self._options.create_new_adapter

    def describe(self, model: PreTrainedModel) -> list[str]:
        """How much learns."""
        return [f"{self.kind.name}: {learning_share(model)}"]

    # -- the configuration -------------------------------------------------------------------------------------------

    def _config_class(self) -> type[PeftConfig]:
        found: type[PeftConfig] = getattr(peft, self.kind.config)
        return found

    def _config(self, model: PreTrainedModel) -> PeftConfig:
        chosen = {field: getattr(self._options, key) for key, field in self.kind.fields.items()}
        chosen = {field: _plain(value) for field, value in chosen.items() if value is not None}
        return self._config_class()(task_type=task_of(model), **{**chosen, **self._places(model), **self._fixed()})

    def _fixed(self) -> dict[str, Any]:
        """Fields that are no matter of choice: that everything an adapter needs is saved with it."""
        known = {item.name for item in fields(self._config_class())}
        always = {"save_projection": True, "save_precomputed_indices": True, "progressbar": False}
        return {name: value for name, value in always.items() if name in known}

    def _places(self, model: PreTrainedModel) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._options.additional_target:
            found["modules_to_save"] = list(find_saved(model, self._options.additional_target))
            self._check_not_shared(model, found["modules_to_save"])
        if not self.kind.target:
            return found
        target = getattr(self._options, self.kind.target)
        finder = find_norms if self.kind.target == NORMS else find_layers
        layers = finder(model, target, self.kind.target)
        found["target_modules"] = shorten(model, layers)
        if FEED_FORWARD in self.kind.fields.values():
            found |= self._feed_forward(model, layers)
        return found

    def _feed_forward(self, model: PreTrainedModel, layers: tuple[str, ...]) -> dict[str, Any]:
        """IA³ scales what goes into these layers instead of what comes out; peft wants them among the targets."""
        key = next(key for key, field in self.kind.fields.items() if field == FEED_FORWARD)
        wanted = getattr(self._options, key) or ()
        inner = [name for name in find_layers(model, wanted, key) if name in layers] if wanted else []
        both = {"target_modules": shorten(model, layers), FEED_FORWARD: shorten(model, inner) if inner else []}
        if set(both[FEED_FORWARD]) <= set(both["target_modules"]):
            return both
        return {"target_modules": sorted(layers), FEED_FORWARD: sorted(inner)}

    def _check_not_shared(self, model: PreTrainedModel, saved: list[str]) -> None:
        ends = {id(model.get_output_embeddings()), id(model.get_input_embeddings())}
        tied = [name for name, module in model.named_modules() if id(module) in ends and name.rpartition(".")[2] in saved]
        if tied and shares_weight(model):
            raise TunesmithError(
                f"additional_target names {tied[0]}, which shares its weight, and {self.kind.name} would part the two.",
                "Leave it out, or use finetuning_type: lora, which keeps them together.",
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@cache
def tuner_of(name: str) -> type[PeftTuner]:
    """The tuner of one kind."""
    kind = kinds()[name]
    return type(kind.config.replace("Config", "Tuner"), (PeftTuner,), {"kind": kind, "__doc__": kind.summary})


def __getattr__(name: str) -> type[PeftTuner]:
    if name not in kinds():
        raise AttributeError(name)
    return tuner_of(name)
