"""The files of a benchmark: a folder with one table to each subject and split, loose or in zip archives.

A table belongs to a subject and a split by its name: ``test/anatomy.csv``, ``anatomy_test.csv``, ``data/test/anatomy_test.csv``
are all the split ``test`` of ``anatomy``. ``mapping.json`` may give subjects a name and a category.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tunesmith.defaults.local_files import rows_of
from tunesmith.errors import TunesmithError, nearest

from tunesmith_evaluate.options import SPLITS, Task, folder_of
from tunesmith_evaluate.questions import Question, read_question

MAPPING = "mapping.json"
TABLES = (".csv", ".json", ".jsonl", ".parquet")
#: The columns of tables that have no line of names, as mmlu's.
BARE = ("question", "A", "B", "C", "D", "answer")
ALL = "all"


@dataclass(frozen=True)
class Table:
    """A table of questions: a file, or the member ``inside`` of an archive."""

    file: Path
    inside: str = ""

    @property
    def path(self) -> PurePosixPath:
        """What its name says: folders and file name, within the archive where it is in one."""
        return PurePosixPath(self.inside or self.file.as_posix())

    def __str__(self) -> str:
        return f"{self.file}/{self.inside}" if self.inside else str(self.file)

    def rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Rows, each with its place.

        :raises TunesmithError: it cannot be read.
        """
        if self.path.suffix == ".csv":
            yield from self._csv()
        elif self.inside:
            raise TunesmithError(f"{self}: only csv files are read from archives.", f"Unpack {self.file.name}.")
        else:
            yield from rows_of(self.file)

    def _csv(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        try:
            lines = list(csv.reader(io.StringIO(self._bytes().decode("utf-8-sig"), newline="")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise TunesmithError(f"{self} is no csv table in UTF-8: {error}.", "Save it anew.") from error
        named = bool(lines) and {"question", "answer"} <= {word.strip().lower() for word in lines[0]}
        names = lines[0] if named else BARE
        for number, line in enumerate(lines[named:], 1 + named):
            if line:
                yield f"{self}:{number}", dict(zip(names, line, strict=False))

    def _bytes(self) -> bytes:
        if not self.inside:
            return self.file.read_bytes()
        with zipfile.ZipFile(self.file) as archive:
            return archive.read(self.inside)


@dataclass(frozen=True)
class Subject:
    """One subject of a benchmark with what is asked of it, and the examples that may stand before a question."""

    id: str
    name: str
    category: str
    questions: tuple[Question, ...]
    examples: tuple[Question, ...]


def read_benchmark(task: Task, task_dir: str, n_shot: int) -> list[Subject]:
    """The subjects of a benchmark, in the order of ``mapping.json`` or of their names.

    :raises TunesmithError: it is not there, a table is malformed, or there are no examples where some are wanted.
    """
    folder = folder_of(task, task_dir)
    if not folder.is_dir():
        there = [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] if folder.parent.is_dir() else []
        raise TunesmithError(f"There is no benchmark {folder}.", nearest(task.name, there) or "Write task_dir: its folder.")
    tables = list(_tables(folder))
    names = _mapping(folder / MAPPING)
    asked = _of_split(tables, task.split)
    chosen = names or {key: {} for key in sorted(asked)}
    if missing := sorted(chosen.keys() - asked.keys()):
        hint = f"A table is named {task.split}/{missing[0]}.csv or {missing[0]}_{task.split}.csv."
        raise TunesmithError(f"{folder} has no {task.split} questions on {', '.join(missing[:3])}.", hint)
    if not chosen:
        raise TunesmithError(f"{folder} has no table of {task.split} questions.", f"Put csv files into {folder / task.split}.")
    shown = _of_split(tables, "train") if n_shot else {}
    return [_subject(key, facts, asked[key], shown.get(key), n_shot) for key, facts in chosen.items()]


def _subject(key: str, facts: Mapping[str, str], asked: Table, shown: Table | None, n_shot: int) -> Subject:
    examples = _questions(shown)[:n_shot] if shown else ()
    if len(examples) < n_shot:
        have = f"{len(examples)} examples" if shown else "no train split with examples"
        raise TunesmithError(f"The subject {key} has {have}; n_shot is {n_shot}.", f"Write n_shot: {len(examples)}.")
    return Subject(key, facts.get("name", key.replace("_", " ")), facts.get("category", ALL), _questions(asked), examples)


def _questions(table: Table) -> tuple[Question, ...]:
    found = []
    for place, row in table.rows():
        try:
            found.append(read_question(row))
        except ValueError as error:
            raise TunesmithError(f"{place} is no question: {error}.", "Mend or remove the row.") from error
    if not found:
        raise TunesmithError(f"{table} holds no questions.", "Remove it, or fill it.")
    return tuple(found)


def _tables(folder: Path) -> Iterator[Table]:
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".zip":
            try:
                with zipfile.ZipFile(file) as archive:
                    yield from (Table(file, name) for name in sorted(archive.namelist()) if name.endswith(TABLES))
            except zipfile.BadZipFile as error:
                raise TunesmithError(f"{file} is no zip archive: {error}.", "Fetch it again.") from error
        elif file.suffix in TABLES and file.name != MAPPING:
            yield Table(file)


def _of_split(tables: Iterable[Table], split: str) -> dict[str, Table]:
    """Subject → its table of one split."""
    found: dict[str, Table] = {}
    for table in tables:
        subject = _subject_of(table.path, SPLITS[split])
        if subject and subject in found:
            raise TunesmithError(f"{found[subject]} and {table} are both the {split} split of {subject}.", "Remove one.")
        if subject:
            found[subject] = table
    return found


def _subject_of(path: PurePosixPath, words: tuple[str, ...]) -> str:
    """The subject whose split a table is; empty when it is of another split."""
    for word in words:
        if path.stem.endswith(f"_{word}"):
            return path.stem.removesuffix(f"_{word}")
    return path.stem if path.parent.name in words else ""


def _mapping(file: Path) -> dict[str, dict[str, str]]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TunesmithError(f"{file} is no valid JSON: {error}.", "Mend it.") from error
    if not isinstance(found, dict) or not all(isinstance(facts, dict) for facts in found.values()):
        raise TunesmithError(f"{file} must map subjects to names and categories.", '{"anatomy": {"name": …, "category": …}}')
    return found
