"""How far two texts agree from their start, where a tag such as ``<think>`` counts as one letter.

The exported Jinja has no regular expressions, so there the letters are told apart beforehand: :func:`told_apart`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tunesmith.templates.model import Each, If, Node, Slot, Trim, Words

_ATOM = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|.", re.DOTALL)
#: Stands after each letter of a slot that is told apart; no template writes it.
BORDER = "␟"


def common_atoms(text: str, start: str) -> int:
    """How many characters of ``start`` a text begins with, never ending inside a tag of ``start``."""
    if text.startswith(start):
        return len(start)
    shared = 0
    for atom in _ATOM.finditer(start):
        if not text.startswith(atom[0], shared):
            break
        shared = atom.end()
    return shared


def told_apart(slot: Slot) -> Slot:
    """The slot with :data:`BORDER` after each tag and each letter of its words, and after each value."""
    return tuple(part for node in slot for part in _told_apart(node))


def _told_apart(node: Node) -> Iterator[Node]:
    if isinstance(node, Words):
        yield Words("".join(atom[0] + BORDER for atom in _ATOM.finditer(node.text)))
    elif isinstance(node, If):
        yield If(tuple(replace(branch, body=told_apart(branch.body)) for branch in node.branches))
    elif isinstance(node, Each | Trim):
        yield replace(node, body=told_apart(node.body))
    else:
        yield from (node, Words(BORDER))
