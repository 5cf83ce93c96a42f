"""The kinds of adapters that peft offers, as data: what each is called, can do, and which flat keys it has. No torch, no peft.

``peft_kinds.json`` is made from peft's configuration classes by ``tools/generate_peft_kinds.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Annotated, Any

from tunesmith.kinds import read_kind
from tunesmith.options import Range

from tunesmith_lora.target_options import AdapterOptions, TargetOptions

LORA_TARGET = "lora_target"
TARGET_HELP = "Layers that {name} acts on: names, all, or re: and a regular expression; as lora_target."


@dataclass(frozen=True)
class PeftKind:
    """One kind of adapter.

    :param type: peft's word for it, as in an ``adapter_config.json``.
    :param config: the name of peft's configuration class.
    :param target: the key that chooses its layers; empty where nothing is to be chosen.
    :param keys: its flat keys, each with the field of peft's configuration that it sets.
    """

    name: str
    type: str
    config: str
    summary: str
    target: str
    mergeable: bool
    over_quantized: bool | tuple[str, ...]
    needs: tuple[str, ...]
    keys: tuple[Mapping[str, Any], ...]

    @property
    def title(self) -> str:
        """What its options are called in this module."""
        return f"{self.name.title().replace('_', '')}Options"

    @property
    def fields(self) -> Mapping[str, str]:
        """Flat key → the field of peft's configuration that it sets."""
        return {one["name"]: one["field"] for one in self.keys}

    @cached_property
    def options(self) -> type:
        """A frozen dataclass with a field for each option, beside those that all kinds share."""
        made = [_field(one) for one in self.keys]
        if self.target not in ("", LORA_TARGET):
            made.append((self.target, Annotated[tuple[str, ...], TARGET_HELP.format(name=self.name)], field(default=("all",))))
        shared = TargetOptions if self.target == LORA_TARGET else AdapterOptions
        names = {"__module__": __name__, "__doc__": f"The flat keys of the tuner ``{self.name}``."}
        # Nobody compares or prints them, and making what it takes would double the time.
        return make_dataclass(self.title, made, bases=(shared,), frozen=True, namespace=names, repr=False, eq=False)


@cache
def kinds() -> Mapping[str, PeftKind]:
    """Every kind by the name of its tuner."""
    plain = json.loads(resources.files(__package__).joinpath("peft_kinds.json").read_text(encoding="utf-8"))
    return {one["name"]: _kind(**one) for one in plain["kinds"]}


def kind_of(tuner: str) -> PeftKind | None:
    """The kind that a tuner is of; ``None`` for any but peft's."""
    return kinds().get("oft" if tuner == "qoft" else tuner)


def _kind(*, options: Sequence[Mapping[str, Any]], needs: Sequence[str], over_quantized: Any, **facts: Any) -> PeftKind:
    over = tuple(over_quantized) if isinstance(over_quantized, list) else over_quantized
    return PeftKind(**facts, needs=tuple(needs), over_quantized=over, keys=tuple(options))


def __getattr__(name: str) -> type:
    """The options of one kind by their name, made when somebody asks for keys."""
    for kind in kinds().values() if name.endswith("Options") else ():
        if kind.title == name:
            return kind.options
    raise AttributeError(name)


def _field(option: Mapping[str, Any]) -> tuple[str, Any, Any]:
    notes: list[Any] = [option["help"]]
    if "range" in option:
        notes.append(Range(**option["range"]))
    default = tuple(option["default"]) if isinstance(option["default"], list) else option["default"]
    return option["name"], Annotated[(read_kind(option["type"]), *notes)], field(default=default)
