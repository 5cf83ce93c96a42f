"""A question with its examples as a conversation, and as token ids that end where the letter of the answer stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Conversation, Text, Turn
from tunesmith.data.tokens import Encoder
from tunesmith.errors import TunesmithError

from tunesmith_evaluate.benchmark import Subject
from tunesmith_evaluate.questions import Question

#: How a block of questions opens, and what asks for the answer: as these benchmarks are put in the literature.
OPENINGS = {
    "en": "The following are multiple choice questions (with answers) about {subject}.\n\n",
    "zh": "以下是中国关于{subject}考试的单项选择题，请选出其中的正确答案。\n\n",
}
ASKS = {"en": "\nAnswer:", "zh": "\n答案："}


@dataclass(frozen=True)
class Asked:
    """``ids`` to continue, and for each letter the id that would be it."""

    subject: Subject
    question: Question
    ids: tuple[int, ...]
    letters: dict[int, str]


def conversation(subject: Subject, question: Question, lang: str) -> Conversation:
    """The examples as answered turns, then the question; it opens with what the questions are about."""
    turns: list[Turn] = []
    for example in subject.examples:
        turns += [_turn("user", _put(example, lang)), _turn("assistant", example.answer)]
    turns.append(_turn("user", _put(question, lang)))
    opening = OPENINGS[lang].format(subject=subject.name)
    return Conversation((_turn("user", opening + turns[0].text), *turns[1:]))


def ask(subject: Subject, question: Question, lang: str, renderer: Renderer, encoder: Encoder) -> Asked:
    """The ids before the answer's letter, and the letters' own: those of the training rows in which each letter is the answer.

    :raises TunesmithError: the template or the tokenizer does not tell the letters apart.
    """
    talk = conversation(subject, question, lang)
    rows = [
        encoder.ids(renderer.render(Conversation((*talk.turns, _turn("assistant", letter))))) for letter in question.letters
    ]
    shared = len(list(takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))))
    letters = {row[shared]: letter for row, letter in zip(rows, question.letters, strict=True) if shared < len(row)}
    if len(letters) < len(question.letters):
        raise TunesmithError(
            f"The tokenizer does not tell the answers {', '.join(question.letters)} apart by their first token.",
            "Check template: the answer must begin with its letter.",
        )
    return Asked(subject, question, rows[0][:shared], letters)


def ask_all(subjects: Sequence[Subject], lang: str, renderer: Renderer, encoder: Encoder) -> Iterator[Asked]:
    """Every question of every subject."""
    for subject in subjects:
        for question in subject.questions:
            yield ask(subject, question, lang, renderer, encoder)


def _turn(role: str, text: str) -> Turn:
    return Turn(role, (Text(text),))  # type: ignore[arg-type]


def _put(question: Question, lang: str) -> str:
    choices = "".join(f"\n{letter}. {choice}" for letter, choice in zip(question.letters, question.choices, strict=True))
    return f"{question.text}{choices}{ASKS[lang]}"
