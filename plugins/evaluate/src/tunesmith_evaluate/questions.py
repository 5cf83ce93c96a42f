"""One multiple-choice question, from a row of any of the usual shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any


@dataclass(frozen=True)
class Question:
    """``choices`` are lettered in order; ``answer`` is the letter of the right one."""

    text: str
    choices: tuple[str, ...]
    answer: str

    @property
    def letters(self) -> str:
        """The letters of the choices: ``ABCD``."""
        return ascii_uppercase[: len(self.choices)]


def read_question(row: Mapping[str, Any]) -> Question:
    """A question of a row with the columns ``question``, ``answer`` and either ``A B C D …`` or a list ``choices``.

    Capitals do not matter in names. ``answer`` is a letter, or the number of the choice counted from 0.

    :raises ValueError: says what is missing or wrong.
    """
    known = {str(name).strip().lower(): value for name, value in row.items()}
    text, choices = known.get("question"), _choices(known)
    if not isinstance(text, str) or not text.strip():
        raise ValueError("it has no text in the column question")
    if len(choices) < 2:
        raise ValueError("it has fewer than two choices (columns A, B, …, or a list choices)")
    question = Question(text.strip(), tuple(choices), "")
    answer = str(known.get("answer") if known.get("answer") is not None else "").strip()
    letter = question.letters[int(answer)] if answer.isdigit() and int(answer) < len(choices) else answer.upper()
    if len(letter) != 1 or letter not in question.letters:
        raise ValueError(f"its answer is {answer!r}, which is none of {', '.join(question.letters)}")
    return Question(question.text, question.choices, letter)


def _choices(row: Mapping[str, Any]) -> list[str]:
    listed = row.get("choices")
    if isinstance(listed, Sequence) and not isinstance(listed, str):
        return [str(choice) for choice in listed]
    found: list[str] = []
    for letter in ascii_uppercase.lower():
        if row.get(letter) is None or not str(row[letter]).strip():
            break
        found.append(str(row[letter]).strip())
    return found
