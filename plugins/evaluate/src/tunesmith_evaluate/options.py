"""The flat keys of the command ``eval``, and how ``task`` is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from tunesmith.options import Range


@dataclass(frozen=True)
class EvaluateOptions:
    """Which benchmark is run, and how its questions are asked."""

    task: Annotated[str | None, "Benchmark and split, such as mmlu_test: a folder in task_dir, and what is asked."] = None
    task_dir: Annotated[str, "Folder that holds a folder to each benchmark."] = "evaluation"
    batch_size: Annotated[int, "Questions that are asked at once.", Range(least=1)] = 4
    n_shot: Annotated[int, "Answered examples before each question, of the subject's train split.", Range(least=0)] = 5
    lang: Annotated[Literal["en", "zh"], "Language in which the questions are put."] = "en"
    save_dir: Annotated[str | None, "Folder for results.json and answers.jsonl; it must not hold anything yet."] = None


#: The splits of a benchmark, by the names that files and folders give them.
SPLITS = {"train": ("train", "dev"), "validation": ("validation", "val", "valid"), "test": ("test",)}


class Task(NamedTuple):
    """The benchmark ``name``, of which the split ``split`` is asked."""

    name: str
    split: str


def parse(task: str) -> Task:
    """``mmlu_test`` → the benchmark ``mmlu`` and the split ``test``.

    :raises ValueError: it does not end with a split.
    """
    name, _, split = task.rpartition("_")
    for known, words in SPLITS.items():
        if name and split in words:
            return Task(name, known)
    raise ValueError(f"task is {task!r}: it must be a benchmark and a split")


def folder_of(task: Task, task_dir: str) -> Path:
    """Where the benchmark lies."""
    return Path(task_dir).expanduser() / task.name
