"""Adapters folded into a model layer by layer: each weight is read, merged, written and let go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig
from tunesmith import TunesmithError
from tunesmith.contracts import Backend
from tunesmith.layer_merge import LayerMerge
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.base_changes import changed_config
from tunesmith.runtime.hollow import hollow_model
from tunesmith.runtime.loading import load_config, model_class, model_folder, tuner_for
from tunesmith.runtime.precision import dtype_to_infer

from tunesmith_export.weight_files import Weight, WeightFiles, write

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: The change of the weights that an adapter touches, as a share of themselves, from which on nothing of the model is left.
MUCH = 1.0


@dataclass
class Tally:
    """What one adapter has done to the weights: how many it changed, and the squares of the change and of what was there."""

    changed: int = 0
    change: float = 0.0
    before: float = 0.0

    @property
    def share(self) -> float:
        """The change as a share of the weights that it was added to."""
        return (self.change / self.before) ** 0.5 if self.before else float(self.change > 0)

    def count(self, old: torch.Tensor, new: torch.Tensor) -> None:
        """Add one weight."""
        if not torch.equal(old, new):
            self.changed += 1
            self.change += float(torch.linalg.vector_norm(new - old, dtype=torch.float32)) ** 2
        self.before += float(torch.linalg.vector_norm(old, dtype=torch.float32)) ** 2


@dataclass
class LayerRoad:
    """A model that is merged layer by layer.

    :param shell: the model with weights that take no memory: its configuration, its generation config, its class.
    :param pieces: what each adapter does, in the order in which they are merged.
    """

    shell: PreTrainedModel
    files: WeightFiles
    pieces: list[list[LayerMerge]]
    device: torch.device
    tallies: list[Tally] = field(default_factory=list)

    def obstacle(self) -> str:
        """Why the files do not allow it; empty where they do."""
        touched = {name for pieces in self.pieces for piece in pieces for name in piece.weights}
        if absent := sorted(name for name in touched if name not in self.files):
            return f"{absent[0]} is not in the model's files under this name"
        shapes = {name: tuple(weight.shape) for name, weight in self.shell.named_parameters(remove_duplicate=False)}
        if any(shapes.get(weight.name, weight.shape) != weight.shape for weight in self.files.weights):
            return "the model's files hold weights in other shapes"
        shared = set(self.shell.all_tied_weights_keys) | set(self.shell.all_tied_weights_keys.values())
        return f"{min(touched & shared)} is shared by two layers" if touched & shared else ""

    def write(self, directory: Path, most: int) -> None:
        """Write the merged weights, the configuration and the generation config.

        :param most: bytes of one file.
        """
        self.tallies = [Tally() for _ in self.pieces]
        groups = _groups(self.pieces)
        done: dict[str, torch.Tensor] = {}

        def value(name: str) -> torch.Tensor:
            if name not in done:
                done.update(self._merged(groups.get(name, (name,))))
            return done.pop(name)

        write([replace(weight, dtype=self._format(weight)) for weight in self.files.weights], value, directory, most=most)
        self.shell.config.architectures = [type(self.shell).__name__]
        self.shell.config.dtype = self.shell.dtype
        self.shell.config.save_pretrained(directory)
        self.shell.generation_config.save_pretrained(directory)

    @torch.no_grad()
    def _merged(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        formats = {weight.name: self._format(weight) for weight in self.files.weights if weight.name in names}
        held = {name: self.files.read(name).to(self.device, formats[name]) for name in names}
        for pieces, tally in zip(self.pieces, self.tallies, strict=True):
            for piece in pieces:
                if piece.weights[0] in held:
                    merged = piece.merge({name: held[name] for name in piece.weights})
                    for name, new in merged.items():
                        tally.count(held[name], new)
                    held.update(merged)
        return held

    def _format(self, weight: Weight) -> torch.dtype:
        """As loading it would have it: some layers of some models are kept in float32."""
        shell, wanted = self.shell, self.shell.dtype
        if not weight.dtype.is_floating_point or wanted is torch.float32:
            return wanted if weight.dtype.is_floating_point else weight.dtype
        loose = shell._keep_in_fp32_modules or () if wanted is torch.float16 else ()
        kept = (*loose, *(shell._keep_in_fp32_modules_strict or ()))
        return torch.float32 if any(re.search(rf"(^|\.){word}(\.|$)", weight.name) for word in kept) else wanted


def prepare(plan: Plan, plugins: Plugins, wish: ModelWish, backend: Backend, adapters: Iterable[Path]) -> LayerRoad:
    """Everything but the weights."""
    folder, config = model_folder(plan, str(wish.path)), load_config(plan, str(wish.path))
    own = config.dtype if isinstance(config.dtype, torch.dtype) else None
    config, dtype = changed_config(config, plan, wish, training=False), dtype_to_infer(plan, backend, own)
    if wish.head == "score":
        config.num_labels = 1
    kind = model_class(config, wish.head)
    pieces = []
    for adapter in adapters:
        tuner = tuner_for(plan, plugins, adapter)
        tuned = tuner.load(hollow_model(kind, config, dtype), adapter, trainable=False)
        pieces.append(list(tuner.layer_merges(_placed(tuned, backend.device()))))
    shell = hollow_model(kind, config, dtype)
    if (folder / "generation_config.json").is_file():
        shell.generation_config = GenerationConfig.from_pretrained(folder)
    return LayerRoad(shell, WeightFiles(folder), pieces, backend.device())


def _placed(tuned: Any, device: torch.device) -> Any:
    """With what the adapter brings on the device; what is nothing stays where it is."""
    return tuned if device.type == "cpu" else tuned.to(device)


def check(adapter: str, tally: Tally) -> None:
    """See that a merge did something, and not too much of it.

    :raises TunesmithError: it did not.
    """
    if not tally.changed:
        what = f"Merging the adapter {adapter} changes no weight: it has learned nothing, or too little to survive rounding."
        raise TunesmithError(what, "Export the base itself, or write infer_dtype: float32.")
    if not tally.share < MUCH:
        what = f"Merging the adapter {adapter} changes the weights by {tally.share:.2g} of what they are."
        raise TunesmithError(what, "It belongs to another model, or its training went wrong.")


def _groups(pieces: Sequence[Sequence[LayerMerge]]) -> Mapping[str, tuple[str, ...]]:
    """The weights that have to be merged together, by the name of each of them."""
    groups: dict[str, tuple[str, ...]] = {}
    for piece in (piece for one in pieces for piece in one):
        joined = dict.fromkeys(name for own in piece.weights for name in groups.get(own, (own,)))
        groups |= dict.fromkeys(joined, tuple(joined))
    return groups
