"""Local files become rows with a place; what is malformed or missing is named by file and line."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from tunesmith import TunesmithError
from tunesmith.defaults.local_files import LocalFiles, list_files
from tunesmith.plan import DatasetPlan

ROWS = [{"a": "one", "b": "1"}, {"a": "zwei,\n2", "b": "2"}, {"a": "三", "b": "3"}]


def write(folder: Path, name: str, rows: list[dict[str, Any]] = ROWS) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist(rows)
    match file.suffix:
        case ".json":
            file.write_text(json.dumps(rows), encoding="utf-8")
        case ".jsonl":
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        case ".csv":
            lines = ["a,b", *(f'"{row["a"]}",{row["b"]}' for row in rows)]
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        case ".parquet":
            pyarrow.parquet.write_table(table, file)
        case ".arrow":
            with pyarrow.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)


def source(folder: Path, name: Any) -> LocalFiles:
    return LocalFiles(DatasetPlan("x", "train", "file", "f", "conversation", {"file_name": name}, str(folder)))


def rows(folder: Path, name: Any) -> list[Any]:
    return [row for _, row in source(folder, name).rows()]


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet", "arrow"])
def test_every_type_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    write(tmp_path, f"a.{kind}")
    assert rows(tmp_path, f"a.{kind}") == ROWS


def test_places_lead_to_the_row(tmp_path: Path) -> None:
    for kind in ("json", "jsonl", "csv", "parquet"):
        write(tmp_path, f"a.{kind}")
    places = {
        kind: [place for place, _ in source(tmp_path, f"a.{kind}").rows()] for kind in ("json", "jsonl", "csv", "parquet")
    }
    assert places["jsonl"] == [f"{tmp_path}/a.jsonl:{line}" for line in (1, 2, 3)]
    assert places["csv"] == [f"{tmp_path}/a.csv:{line}" for line in (2, 4, 5)]
    assert places["json"][1] == f"{tmp_path}/a.json: row 2"
    assert places["parquet"][2] == f"{tmp_path}/a.parquet: row 3"


def test_an_arrow_file_as_well_as_a_stream(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    assert rows(tmp_path, "a.arrow") == ROWS


def test_each_line_of_a_text_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n  two \r\n\nthree", encoding="utf-8")
    assert rows(tmp_path, "a.txt") == [{"text": "one"}, {"text": "  two "}, {"text": "three"}]


def test_a_json_file_of_lines_is_read_as_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}\n{"a": 2}\n')
    assert rows(tmp_path, "a.json") == [{"a": 1}, {"a": 2}]


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert rows(tmp_path, "a.jsonl") == [{"a": 1}]


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path, "many/b.jsonl", ROWS[1:])
    write(tmp_path, "many/a.jsonl", ROWS[:1])
    (tmp_path / "many" / ".hidden").write_text("x")
    assert rows(tmp_path, "many") == ROWS
    assert rows(tmp_path, ["many/b.jsonl", "many/a.jsonl"]) == [*ROWS[1:], ROWS[0]]


def test_an_absolute_path_is_taken_and_a_relative_one_stays_inside(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/a.json")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    assert rows(tmp_path / "data", str(tmp_path / "elsewhere" / "a.json")) == ROWS
    for name in ("../elsewhere/a.json", "link/a.json"):
        with pytest.raises(TunesmithError, match=r"lies outside"):
            list_files({"file_name": name}, str(tmp_path / "data"))


MALFORMED = {
    "a.jsonl": ('{"a": 1}\n{"a": \n{"a": 3}\n', r"a\.jsonl:2: this line is no valid JSON"),
    "b.jsonl": ('{"a": 1}\n[1, 2]\n', r"b\.jsonl:2: this row is a list, not a JSON object"),
    "a.json": ('[{"a": 1},\n{"a": }]', r"a\.json:2: no valid JSON"),
    "b.json": ("[1]", r"b\.json: row 1: this row is a number"),
    "a.csv": ("a,b\n1,2\n1,2,3\n", r"a\.csv:3: this row has another number of cells"),
    "b.csv": ('a,b\n1,"2\n', r"b\.csv:2: the row that begins here is no valid CSV"),
    "a.parquet": ("PAR1 this is none", r"a\.parquet"),
    "a.arrow": ("neither is this", r"a\.arrow"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    text, message = MALFORMED[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(TunesmithError, match=message):
        rows(tmp_path, name)


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.csv", "a.txt"):
        (tmp_path / name).write_bytes('{"a": "b"}\n{"a": "ä"}\n'.encode("latin-1"))
        with pytest.raises(TunesmithError, match=r":2: this is no UTF-8 text"):
            rows(tmp_path, name)


def test_lines_hold_all_that_json_in_python_reads(tmp_path: Path) -> None:
    lines = ['{"a": 123456789012345678901234567890}', '{"a": -Infinity}', r'{"a": "\ud800"}', "\u3000", '{"a": 1, "a": 1e3}\r']
    (tmp_path / "a.jsonl").write_text("\n".join(["\ufeff ", *lines]), encoding="utf-8")
    assert rows(tmp_path, "a.jsonl") == [{"a": 123456789012345678901234567890}, {"a": -inf}, {"a": "\ud800"}, {"a": 1000.0}]


def test_a_line_is_not_nested_without_end(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n' + "[" * 100_000 + "\n")
    with pytest.raises(TunesmithError, match=r":2: this line is nested too deeply"):
        rows(tmp_path, "a.jsonl")


def test_what_is_not_there_gets_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl")
    with pytest.raises(TunesmithError, match="There is no file") as caught:
        source(tmp_path, "trian.jsonl")
    assert caught.value.hint == "Did you mean 'train.jsonl'?"


def test_mixed_and_unknown_types_and_empty_folders(tmp_path: Path) -> None:
    write(tmp_path, "mixed/a.json")
    write(tmp_path, "mixed/b.jsonl")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.xlsx").write_text("x")
    for name, message in (
        ("mixed", "several types: .json, .jsonl"),
        ("empty", "holds no files"),
        ("a.xlsx", "of no known type"),
    ):
        with pytest.raises(TunesmithError, match=message):
            source(tmp_path, name)
