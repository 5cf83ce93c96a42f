"""A declared template beside the tokenizer's own: where their texts part, to the character."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.data.conversation import Thought
from tunesmith.templates.auto import AutoRenderer
from tunesmith.templates.lines import Line, answer, fitting
from tunesmith.templates.render import DeclaredRenderer


@dataclass(frozen=True)
class Difference:
    """One conversation that two templates write differently, or only one of them writes. ``at`` is the first character."""

    sample: str
    at: int
    declared: str
    own: str

    def __str__(self) -> str:
        if self.at < 0:
            return f"{self.sample}: declared: {self.declared}; the tokenizer's own: {self.own}"
        around = slice(max(0, self.at - 30), self.at + 30)
        return (
            f"{self.sample}: differs from character {self.at}\n"
            f"    declared: {_shown(self.declared, self.at, around)}\n    own:      {_shown(self.own, self.at, around)}"
        )


def _shown(text: str, at: int, around: slice) -> str:
    before, after = text[around.start : at], text[at : around.stop]
    return f"{before!r:.80}".rstrip("'\"")[1:] + " ▸ " + repr(after)


@dataclass(frozen=True)
class Comparison:
    """What came of comparing: conversations written alike, left out by both, and those that differ."""

    alike: tuple[str, ...]
    neither: tuple[str, ...]
    differences: tuple[Difference, ...]


def compare(declared: DeclaredRenderer, own: AutoRenderer, samples: Mapping[str, Mapping[str, Any]]) -> Comparison:
    """Render every sample by both. What the tokenizer's own template refuses or leaves out in silence cannot be compared."""
    alike, neither, differences = [], [], []
    for name, sample in samples.items():
        if declared.template.thinking is None and _thinks(sample):
            continue  # such a template has no published form for reasoning, whatever is done with it
        ours = answer(declared, json.dumps(sample))
        theirs = _own_text(own, Line(sample))
        if "error" in ours and theirs is None:
            neither.append(name)
        elif "error" in ours or theirs is None:
            refused = "nothing to compare: it refuses the conversation, or leaves a part of it out"
            differences.append(Difference(name, -1, ours.get("error", "renders it"), "renders it" if theirs else refused))
        elif ours["text"] == theirs:
            alike.append(name)
        else:
            differences.append(Difference(name, first_difference(ours["text"], theirs), ours["text"], theirs))
    return Comparison(tuple(alike), tuple(neither), tuple(differences))


def _thinks(sample: Mapping[str, Any]) -> bool:
    return any(isinstance(part, Thought) for turn in Line(sample).conversation.turns for part in turn.parts)


def _own_text(own: AutoRenderer, line: Line) -> str | None:
    from tunesmith.errors import TunesmithError

    fitted = fitting(own, line)
    assert isinstance(fitted, AutoRenderer)
    try:
        return fitted.text_of(line.conversation, generating=line.generation_prompt)
    except TunesmithError:
        return None


def first_difference(one: str, two: str) -> int:
    """The index of the first character that two texts do not share."""
    return next(_differing(one, two), min(len(one), len(two)))


def _differing(one: str, two: str) -> Iterator[int]:
    return (at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
