"""How options are declared: frozen dataclasses whose fields are flat keys.

``lora_rank: Annotated[int, "Size of the low-rank update.", Range(least=1)] = 8`` is the one source for reading, ``--help``,
the reference pages and the JSON Schema. Types: ``bool int float str``, ``Literal[…]``, ``tuple[X, ...]`` (a YAML list or a
comma-separated string), ``dict[str, Any]``, and any of these with ``| None``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Bounds of a number: ``least``/``most`` belong to the range, ``above``/``below`` do not."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return not (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )

    def __str__(self) -> str:
        words = {"at least": self.least, "at most": self.most, "above": self.above, "below": self.below}
        return " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)
