"""Benchmarks as they are published and as people lay them out are read; what is wrong in them is named."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from tunesmith.errors import TunesmithError
from tunesmith_evaluate.benchmark import read_benchmark
from tunesmith_evaluate.options import Task, parse
from tunesmith_evaluate.questions import read_question

ROW = {"question": "Which is a colour?", "A": "red", "B": "seven", "C": "loud", "D": "tall", "answer": "A"}
TEST = Task("bench", "test")


def csv_of(*rows: dict[str, str], named: bool = True) -> str:
    lines = [",".join(ROW)] if named else []
    return "\n".join([*lines, *(",".join(row.values()) for row in rows)]) + "\n"


def test_tables_are_found_by_their_names(tmp_path: Path) -> None:
    """In a folder to each split, with the split in the name, and in an archive; with a line of names and without."""
    folder = tmp_path / "bench"
    for place, named in (("test/anatomy.csv", True), ("law_test.csv", False), ("dev/anatomy.csv", True)):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(csv_of(ROW, {**ROW, "answer": "B"}, named=named))
    with zipfile.ZipFile(folder / "bench.zip", "w") as archive:
        archive.writestr("data/test/music_test.csv", csv_of(ROW, named=False))
        archive.writestr("data/dev/music_dev.csv", csv_of(ROW, named=False))
        archive.writestr("data/dev/law_dev.csv", csv_of(ROW))
    found = read_benchmark(TEST, str(tmp_path), n_shot=1)
    assert [(one.id, len(one.questions), len(one.examples)) for one in found] == [
        ("anatomy", 2, 1),
        ("law", 2, 1),
        ("music", 1, 1),
    ]
    assert [question.answer for question in found[1].questions] == ["A", "B"]


def test_the_mapping_names_subjects_and_orders_them(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "test"
    folder.mkdir(parents=True)
    for name in ("a_b", "other"):
        (folder / f"{name}.jsonl").write_text(json.dumps(ROW))
    (tmp_path / "bench" / "mapping.json").write_text('{"other": {"name": "others", "category": "STEM"}, "a_b": {}}')
    found = read_benchmark(TEST, str(tmp_path), n_shot=0)
    assert [(one.id, one.name, one.category) for one in found] == [("other", "others", "STEM"), ("a_b", "a b", "all")]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**ROW, "answer": "E"}, "none of A, B, C, D"),
        ({**ROW, "answer": None}, "its answer is ''"),
        ({**ROW, "question": " "}, "no text in the column question"),
        ({"question": "?", "A": "x", "answer": "A"}, "fewer than two choices"),
    ],
)
def test_a_row_that_is_no_question_is_named(tmp_path: Path, row: dict[str, str], said: str) -> None:
    (tmp_path / "bench" / "test").mkdir(parents=True)
    (tmp_path / "bench" / "test" / "law.jsonl").write_text(json.dumps(ROW) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(TunesmithError, match=r"law\.jsonl:2") as caught:
        read_benchmark(TEST, str(tmp_path), n_shot=0)
    assert said in caught.value.message


def test_a_list_of_choices_with_a_number_is_a_question() -> None:
    question = read_question({"Question": "Which?", "choices": ["red", "blue", "green"], "answer": 2})
    assert (question.letters, question.answer) == ("ABC", "C")


def test_what_is_missing_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bench" / "test").mkdir(parents=True)
    with pytest.raises(TunesmithError, match="no table of test questions"):
        read_benchmark(TEST, str(tmp_path), n_shot=0)
    (tmp_path / "bench" / "test" / "law.csv").write_text(csv_of(ROW))
    with pytest.raises(TunesmithError, match="no train split") as caught:
        read_benchmark(TEST, str(tmp_path), n_shot=5)
    assert caught.value.hint == "Write n_shot: 0."
    with pytest.raises(TunesmithError) as caught:
        read_benchmark(Task("benhc", "test"), str(tmp_path), n_shot=0)
    assert "bench" in caught.value.hint
    (tmp_path / "bench" / "law_test.csv").write_text(csv_of(ROW))
    with pytest.raises(TunesmithError, match="both the test split of law"):
        read_benchmark(TEST, str(tmp_path), n_shot=0)


@pytest.mark.parametrize(("text", "task"), [("mmlu_test", ("mmlu", "test")), ("my_own_val", ("my_own", "validation"))])
def test_a_task_is_a_benchmark_and_a_split(text: str, task: tuple[str, str]) -> None:
    assert parse(text) == task


@pytest.mark.parametrize("text", ["mmlu", "_test", "mmlu_testing", ""])
def test_a_task_without_either_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a benchmark and a split"):
        parse(text)
