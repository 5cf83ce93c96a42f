"""Families of small models: their facts from ``families.toml`` and the sizes a user may choose. Imports nothing heavy."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from tunesmith.errors import TunesmithError, nearest


@dataclass(frozen=True)
class Family:
    """One table of ``families.toml``; the fields are explained at its top."""

    name: str
    summary: str
    config: str
    tokens: Literal["byte-level", "sentencepiece"]
    chat: str
    eos: str
    pad: str
    special: tuple[str, ...]
    stop: tuple[str, ...]
    plain: tuple[str, ...] = ()
    bos: str | None = None
    unk: str | None = None
    add_bos: bool = False
    split: str = ""
    normal: str = ""
    spaces: Literal["first", "never"] = "never"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    sized: Mapping[str, str] = field(default_factory=dict)
    vision: Mapping[str, Any] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sees(self) -> bool:
        """Whether the model has a part for images beside its language model."""
        return bool(self.vision)


@dataclass(frozen=True)
class Sizes:
    """How large a small model is. The properties are sizes that follow from the others.

    :raises TunesmithError: the sizes do not fit together.
    """

    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 128
    experts: int = 4
    vocab: int = 2048
    context: int = 4096

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 1:
                raise TunesmithError(f"{item.name} is {getattr(self, item.name)}.", "Write a number above zero.")
        self._must_divide("hidden", "heads")
        self._must_divide("heads", "kv_heads")
        if self.head_dim % 4:
            raise TunesmithError(
                f"hidden / heads is {self.head_dim}; rotary positions need a multiple of 4.",
                f"Write hidden: {self.heads * (self.head_dim // 4 * 4 + 4)}, or another number of heads.",
            )

    def _must_divide(self, whole: str, part: str) -> None:
        if getattr(self, whole) % getattr(self, part):
            raise TunesmithError(
                f"{whole} ({getattr(self, whole)}) is no multiple of {part} ({getattr(self, part)}).",
                f"Change {whole} or {part}.",
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def half_head(self) -> int:
        """Half the width of one attention head."""
        return self.head_dim // 2

    @property
    def half(self) -> int:
        """Half the hidden width."""
        return self.hidden // 2

    @property
    def expert_intermediate(self) -> int:
        """Inner width of one expert."""
        return max(self.intermediate // 2, 8)

    @property
    def alternating(self) -> list[str]:
        """Attention kinds of the layers: sliding, full, sliding, full, …"""
        kinds = ("sliding_attention", "full_attention")
        return [kinds[layer % 2] for layer in range(self.layers)]


@cache
def families() -> Mapping[str, Family]:
    """Every family by name. ``like`` in a table fills in what it leaves out."""
    tables = tomllib.loads(files(__package__).joinpath("families.toml").read_text(encoding="utf-8"))
    return {name: _family(name, {**tables.get(table.pop("like", ""), {}), **table}) for name, table in tables.items()}


def _family(name: str, table: dict[str, Any]) -> Family:
    lists = {key: tuple(value) for key, value in table.items() if isinstance(value, list)}
    return Family(name=name, **{**table, **lists})


def find_family(name: str) -> Family:
    """The family of that name.

    :raises TunesmithError: there is none.
    """
    known = families()
    if name not in known:
        hint = nearest(name, known) or f"There are: {', '.join(known)}."
        raise TunesmithError(f"There is no family {name!r} of small models.", hint)
    return known[name]
