"""What a user sees whose data is wrong: file, line and column, before a model is read, and nothing written.

The fixture ``refused`` makes sure of exit code 2, no traceback, every file as it was, and no session opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Refused = Callable[..., str]

GOOD = [{"instruction": f"Say {number}.", "output": str(number)} for number in range(4)]


@pytest.fixture
def refused_data(desk: Path, refused: Refused) -> Refused:
    """Train on a dataset ``x`` of these rows, which must be refused. A row that is text is a line as it stands."""

    def refuse(rows: Any, *words: str, name: str = "x.jsonl", **entry: Any) -> str:
        if isinstance(rows, list):
            rows = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        (desk / name).write_bytes(rows if isinstance(rows, bytes) else rows.encode())
        (desk / "dataset_info.json").write_text(json.dumps({"x": {"file_name": name, **entry}}))
        return refused("dataset=x", *words)

    return refuse


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.jsonl", '{"instruction": "a", "output": "b"}\n{"instruction": \n{}\n', "x.jsonl:2: this line is no valid JSON"),
        ("x.jsonl", '{"instruction": "a", "output": "b"}\n[1, 2]\n', "x.jsonl:2: this row is a list, not a JSON object"),
        ("x.jsonl", '{"instruction": "a", "output": "b"}\nnull\n', "x.jsonl:2: this row is nothing, not a JSON object"),
        ("x.jsonl", '"a"\n', "x.jsonl:1: this row is text, not a JSON object"),
        ("x.jsonl", "[" * 100_000, "x.jsonl:1: this line is nested too deeply"),
        ("x.json", '[\n{"instruction": "a"},\n{"instruction" "b"}]', "x.json:3: no valid JSON"),
        ("x.csv", "instruction,output\na,b\nc\n", "x.csv:3: this row has another number of cells than the header"),
        ("x.csv", 'instruction,output\na,"b\nc,d\n', "x.csv:2: the row that begins here is no valid CSV"),
        ("x.jsonl", b'{"instruction": "a", "output": "b"}\n{"output": "\xff\xfe"}\n', "x.jsonl:2: this is no UTF-8 text"),
        ("x.jsonl", '{"instruction": "a", "output": "b"}\n'.encode("utf-16"), "x.jsonl:1: this is no UTF-8 text"),
        ("x.parquet", b"PAR1 and no more", "x.parquet cannot be read"),
        ("x.xlsx", "", "x.xlsx is of no known type"),
        ("x.jsonl", "", "x has no rows"),
        ("x.jsonl", "\n\n", "x has no rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(refused_data: Refused, name: str, content: Any, told: str) -> None:
    assert told in refused_data(content, name=name)


@pytest.mark.parametrize(
    ("content", "mends"),
    [
        ("", "It is empty."),
        ('[{"instruction": "a", "output": "b"},]', "Remove the comma before the closing bracket."),
        ('[{"instruction": "a", "output": "b",}]', "Remove the comma before the closing bracket."),
        ('[// mine\n{"instruction": "a"}]', "JSON has no comments: remove this one."),
        ("[{'instruction': 'a'}]", "JSON takes double quotes"),
        ('[{"instruction": None}]', "JSON writes true, false and null."),
        ('[{"instruction": "a\nb"}]', r"\n for a new line"),
        (r'[{"instruction": "C:\data"}]', r"\\ for a backslash"),
        ('[{"instruction": "a}]', "Close the quotes"),
        ('[{"instruction" "a"}]', "Mend the file."),
    ],
)
def test_what_is_no_json_says_what_mends_it(refused_data: Refused, content: str, mends: str) -> None:
    assert mends in refused_data(content, name="x.json").splitlines()[1]


def test_a_file_that_is_gone_has_the_nearest(desk: Path, refused: Refused) -> None:
    (desk / "dataset_info.json").write_text('{"x": {"file_name": "row.jsonl"}}')
    assert refused("dataset=x").splitlines() == [
        "error: dataset_info.json: x: There is no file row.jsonl.",
        "    Did you mean 'rows.jsonl'?",
    ]


@pytest.mark.parametrize("start", ["\ufeff", ""], ids=["with a byte order mark", "without"])
def test_windows_line_ends_and_long_lines_are_no_mistake(desk: Path, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    from tunesmith.cli.main import main

    lines = [json.dumps(row) for row in [*GOOD, {"instruction": "Say much.", "output": "much " * 200_000}]]
    (desk / "x.jsonl").write_bytes((start + "\r\n".join(lines)).encode())
    (desk / "dataset_info.json").write_text('\ufeff{"x": {"file_name": "x.jsonl"}}')
    assert main(["data", "report", "run.yaml", "dataset=x", "--json"]) == 0
    (source,) = json.loads(capsys.readouterr().out)["sources"]
    assert (source["rows_in"], source["kept"], source["truncated"]) == (5, 5, 1)


# ---- dataset_info.json -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"x": {"file_name": "rows.jsonl"},\n}', "dataset_info.json:2: this is no valid JSON"),
        (b"\xff\xfe{", "dataset_info.json: this is no UTF-8 text"),
        (b"[]", "dataset_info.json: it holds no JSON object"),
        (b'{"x": 3}', "dataset_info.json: x: this entry is no JSON object"),
        (b'{"x": {"file_name": "a"},\n"x": {"file_name": "b"}}', "dataset_info.json: 'x' is there twice"),
        (b'{"x": {}}', "dataset_info.json: x: it does not say where its rows are"),
        (b'{"x": {"file_name": "../rows.jsonl"}}', "lies outside"),
    ],
)
def test_a_dataset_info_that_cannot_be_read(desk: Path, refused: Refused, content: bytes, told: str) -> None:
    (desk / "dataset_info.json").write_bytes(content)
    assert told in refused("dataset=x")


@pytest.mark.parametrize(
    ("entry", "what", "instead"),
    [
        ({"formatting": "opnai"}, "There is no format 'opnai'", "Did you mean 'openai'?"),
        ({"colums": {}}, "unknown key 'colums'", "Did you mean 'columns'?"),
        ({"columns": []}, "columns is []", "Write an object of names."),
        ({"columns": {"promt": "instruction"}}, "unknown column 'promt' in columns", "Did you mean 'prompt'?"),
        ({"num_samples": "ten"}, 'num_samples is "ten"', "Write a whole number"),
        ({"ranking": True}, "the run learns from conversation examples", "Use another dataset or stage"),
    ],
)
def test_a_wrong_entry_has_the_nearest(refused_data: Refused, entry: dict[str, Any], what: str, instead: str) -> None:
    told = refused_data(GOOD, **entry)
    assert f"dataset_info.json: x: {what}" in told
    assert instead in told


# ---- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "entry", "what", "instead"),
    [
        ([{"question": "a", "reply": "b"}], {}, "has the column 'instruction' (prompt)", "question, reply"),
        (GOOD, {"columns": {"prompt": "instr"}}, "has the column 'instr' (prompt)", "Did you mean 'instruction'?"),
        ([{}, {}], {}, "has the column 'instruction' (prompt)", "Its rows have no columns."),
    ],
)
def test_a_column_that_is_not_there(
    refused_data: Refused, rows: list[Any], entry: dict[str, Any], what: str, instead: str
) -> None:
    told = refused_data(rows, **entry)
    assert f"error: x: no row of x.jsonl {what}" in told
    assert instead in told
    assert 'Columns are named in dataset_info.json: "columns": {"prompt": "…"}' in told


def test_rows_that_another_format_reads_name_it(refused_data: Refused) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    told = refused_data([{"messages": turns}])
    assert 'Its columns are messages. Write "formatting": "openai" in dataset_info.json, which reads such rows.' in told


SHARE = {"formatting": "sharegpt"}
OPENAI = {"formatting": "openai"}


def share(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


def openai(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


@pytest.mark.parametrize(
    ("row", "entry", "told"),
    [
        ({"instruction": "a"}, {}, "output: this column is not there"),
        ({"instruction": "a", "output": ""}, {}, "output: "),
        ({"instruction": "a", "output": None}, {}, "output: this column is empty"),
        ({}, {}, "instruction: this column is not there"),
        ({"instruction": ["a"], "output": "b"}, {}, "instruction: this column holds a list, not text"),
        ({"instruction": "a", "output": 5}, {}, "output: this column holds a number, not text"),
        (share(("human", "a")), SHARE, "there is no answer"),
        (share(), SHARE, "conversations: this column is empty"),
        ({"conversations": "hi"}, SHARE, "conversations: this column holds text, not a list"),
        ({"conversations": ["hi"]}, SHARE, "conversations[0]: this message is text, not an object"),
        (share(("gpt", "a"), ("human", "b")), SHARE, "[0]: wrong order of roles: a conversation begins with the user"),
        (share(("human", "a"), ("human", "b"), ("gpt", "c")), SHARE, "[1]: wrong order of roles: after user comes assistant"),
        (share(("humn", "a"), ("gpt", "b")), SHARE, "conversations[0]: unknown role 'humn' in from. Did you mean 'human'?"),
        ({"conversations": [{"role": "user"}]}, SHARE, "conversations[0]: there is no from in this message; it has role"),
        (openai(("user", "a")), OPENAI, "messages: there is no answer"),
        (openai(("assistant", "a"), ("user", "b")), OPENAI, "[0]: wrong order of roles: a conversation begins with the user"),
        (openai(("usr", "a"), ("assistant", "b")), OPENAI, "messages[0]: role is 'usr'. Did you mean 'user'?"),
    ],
)
def test_a_bad_row_is_named_with_line_and_column(
    refused_data: Refused, row: dict[str, Any], entry: dict[str, Any], told: str
) -> None:
    good = {"sharegpt": share(("human", "a"), ("gpt", "b")), "openai": openai(("user", "a"), ("assistant", "b"))}
    said = refused_data([good.get(entry.get("formatting", ""), GOOD[0]), row, row], **entry)
    assert "error: x: bad row: x.jsonl:2: " in said
    assert told in said
    assert "(and 1 more bad rows)" in said
    assert "skip bad rows: max_bad_rows: 2" in said


def test_bad_rows_are_skipped_where_that_was_asked_for(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tunesmith.cli.main import main

    with (desk / "rows.jsonl").open("a") as rows:
        rows.write('{"instruction": "a"}\n')
    assert main(["data", "report", "run.yaml", "max_bad_rows=1", "--json"]) == 0
    (source,) = json.loads(capsys.readouterr().out)["sources"]
    assert (source["rows_in"], source["kept"], source["bad_row_count"]) == (5, 4, 1)


@pytest.mark.parametrize("limit", [1, 5, 16])
def test_a_cutoff_below_the_shortest_prompt(refused: Refused, limit: int) -> None:
    told = refused(f"cutoff_len={limit}")
    assert f"command line: cutoff_len: {limit} is below the shortest prompt of rows, 16 tokens." in told
    assert "Write a cutoff_len above 16." in told


@pytest.mark.parametrize("size", ["0.999", "4"])
def test_a_validation_share_that_leaves_nothing_to_learn(refused: Refused, size: str) -> None:
    told = refused(f"val_size={size}")
    assert f"val_size: {size} sets all 4 examples aside for evaluation" in told
    assert "Write a smaller val_size" in told
