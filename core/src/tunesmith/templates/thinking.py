"""Reasoning in replies: found where it is written inline, and read back from generated text."""

from __future__ import annotations

from tunesmith.templates.model import Thinking


def split_inline(text: str, thinking: Thinking) -> tuple[str, str]:
    """Thought and words of a reply that holds both: everything up to the last closing tag is thought.

    Text without a closing tag is words. The tag that opens may be missing: generation may have started after it.
    """
    opening, closing = tags(thinking)
    before, found, after = text.rpartition(closing)
    if not found:
        return "", text
    thought = before.partition(closing)[0].rstrip("\n").rpartition(opening)[2].lstrip("\n")
    return thought, after.lstrip("\n")


def cut_off(thought: str, text: str, thinking: Thinking) -> tuple[str, str]:
    """Thought and words of a reply of a template that shows no thought: the words are what follows the last closing tag, to
    the character, as if the thought had stood before them."""
    closing = tags(thinking)[1]
    whole = thinking.close.partition(closing)[2] + text if thought else text
    _, found, after = whole.rpartition(closing)
    return thought or split_inline(text, thinking)[0], after if found else whole


def tags(thinking: Thinking) -> tuple[str, str]:
    """The tags themselves, without the white space that a template puts around them."""
    return thinking.open.strip(), thinking.close.strip()


def read_back(text: str, thinking: Thinking | None) -> tuple[str, str]:
    """Thought and words of generated text. Thinking that was cut off before its end is all thought."""
    if thinking is None:
        return "", text
    opening, closing = tags(thinking)
    if closing in text:
        thought, words = split_inline(text, thinking)
        return thought.strip(), words
    if text.lstrip().startswith(opening):
        return text.lstrip()[len(opening) :].strip(), ""
    return "", text
