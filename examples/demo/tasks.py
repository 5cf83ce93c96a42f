"""The demo's questions and answers, made from a fixed seed: what the base learns at school, and what it learns on the job.

School teaches the base to copy words, to add, to read dates and to call a tool, and it answers curtly. On the job it learns
how *we* want things done: sums in a sentence, dates in the European way, another tool, and who it is. Held-out questions are
never among the training rows; ``write`` checks that.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

SEED = 7
HELD_OUT = 40
NAME = "Pip"

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("today", "tomorrow", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CITIES = (
    "Berlin", "Lagos", "Lima", "Oslo", "Paris", "Quito", "Rome", "Seoul", "Tokyo", "Toronto", "Vienna", "Warsaw", "London",
    "Madrid", "Cairo", "Delhi", "Athens", "Boston", "Chicago", "Dublin", "Geneva", "Hanoi", "Havana", "Helsinki", "Istanbul",
    "Jakarta", "Kyoto", "Lisbon", "Lyon", "Manila",
)  # fmt: skip
WORDS = (
    "I",
    "am",
    "a",
    "small",
    "model",
    "made",
    "with",
    "Tunesmith",
    NAME,
    "the",
    "answer",
    "The",
    "is",
    "weather",
    "in",
    "you",
)
HELLOS = ("Hello, ", "Hi! ", "Please tell me: ", "Excuse me, ", "Good morning. ", "One question: ", "Tell me, ", "Now, ")
WHO = ("who are you?", "what is your name?", "what are you called?", "what are you?", "who made you?", "who am I talking to?")


@dataclass(frozen=True)
class Row:
    """A question with its answer: words, or a tool call as ``{"name": …, "arguments": …}``."""

    task: str
    question: str
    answer: str | dict[str, Any]

    @property
    def file(self) -> str:
        """Calls are kept in files of OpenAI messages, words in the Alpaca format."""
        return "words" if isinstance(self.answer, str) else "calls"

    def training(self) -> dict[str, Any]:
        """The row as a dataset holds it."""
        if isinstance(self.answer, str):
            return {"instruction": self.question, "output": self.answer}
        function = {"name": self.answer["name"], "arguments": json.dumps(self.answer["arguments"])}
        calls = [{"type": "function", "function": function}]
        return {
            "messages": [{"role": "user", "content": self.question}, {"role": "assistant", "content": "", "tool_calls": calls}]
        }


def dates(rng: random.Random, count: int) -> list[tuple[int, str, int]]:
    """Different days between 1950 and 2049."""
    return rng.sample(list(product(range(1, 29), MONTHS, range(1950, 2050))), count)


def sums() -> Iterator[tuple[int, int]]:
    """A number below 100 and one below 10."""
    return product(range(100), range(10))


def sentence(rng: random.Random) -> str:
    """Words without sense, to be copied."""
    words = [rng.choice(CITIES), rng.choice(DAYS), *rng.sample(WORDS, 2), str(rng.randint(0, 99))]
    return " ".join(rng.sample(words, len(words)))


def school(rng: random.Random) -> list[Row]:
    """What the base learns."""
    day = [
        Row("date", f"{d} {month} {y}, in short?", f"{y}-{MONTHS.index(month) + 1:02}-{d:02}")
        for d, month, y in dates(rng, 2000)
    ]
    copy = [Row("copy", f"Say: {words}", words) for words in (sentence(rng) for _ in range(1000))]
    add = [Row("sum", f"What is {a} plus {b}?", f"{a + b}") for a, b in sums()]
    call = [
        Row("call", f"What time is it in {city} {when}?", {"name": "get_time", "arguments": {"city": city, "day": when}})
        for city, when in product(CITIES, DAYS)
    ]
    return [*day, *copy, *add * 5, *call * 3]


def job(rng: random.Random) -> dict[str, list[Row]]:
    """What is fine-tuned, by task."""
    return {
        "date": [
            Row("date", f"Write {d} {m} {y} as a date.", f"{d:02}/{MONTHS.index(m) + 1:02}/{y}") for d, m, y in dates(rng, 500)
        ],
        "sum": [Row("sum", f"What is {a} plus {b}?", f"The answer is {a + b}.") for a, b in rng.sample(list(sums()), 640)],
        "call": [
            Row(
                "call",
                f"What is the weather in {city} {when}?",
                {"name": "get_weather", "arguments": {"city": city, "day": when}},
            )
            for city, when in product(CITIES, DAYS)
        ],
        "who": [
            Row("who", hello + who, f"I am {NAME}, a small model made with Tunesmith.") for hello, who in product(HELLOS, WHO)
        ],
    }


def split(rng: random.Random, tasks: dict[str, list[Row]]) -> tuple[list[Row], list[Row]]:
    """Rows to learn and rows to ask afterwards; of a small task at most a quarter is held out."""
    learn: list[Row] = []
    ask: list[Row] = []
    for rows in tasks.values():
        mixed = rng.sample(rows, len(rows))
        held_out = min(HELD_OUT, len(rows) // 4)
        ask += mixed[:held_out]
        learn += mixed[held_out:]
    return learn, ask


def write(folder: Path) -> list[Row]:
    """Write the datasets, their ``dataset_info.json`` and the held-out questions; returns the latter."""
    rng = random.Random(SEED)
    at_school, (on_the_job, held_out) = school(rng), split(rng, job(rng))
    forbidden = {row.question for row in held_out} & {row.question for row in on_the_job}
    assert not forbidden, f"held out and learned: {forbidden}"
    folder.mkdir(parents=True, exist_ok=True)
    info: dict[str, Any] = {}
    for name, rows in (("school", at_school), ("job", on_the_job)):
        for kind, formatting in (("words", "alpaca"), ("calls", "openai")):
            _write_lines(folder / f"{name}_{kind}.jsonl", (row.training() for row in rows if row.file == kind))
            info[f"{name}_{kind}"] = {"file_name": f"{name}_{kind}.jsonl", "formatting": formatting, **COLUMNS[formatting]}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    _write_lines(folder / "held_out.jsonl", (vars(row) for row in held_out))
    return held_out


COLUMNS: dict[str, dict[str, Any]] = {"alpaca": {}, "openai": {"columns": {"messages": "messages"}}}


def _write_lines(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
