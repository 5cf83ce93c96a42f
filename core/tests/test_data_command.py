"""The commands ``tunesmith data report`` and ``preview`` as somebody at a terminal meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tunesmith.cli.main import main
from tunesmith.testing.small_tokenizers import write_tokenizer

PLUGIN = """
from pathlib import Path
from tunesmith import FormatSpec, TemplateSpec, TrainerSpec, hookimpl
from tunesmith.contracts import Format
from tunesmith.data.columns import Row, answer
from tunesmith.data.conversation import Conversation, Text, Turn

TUNESMITH_API = (1, 0)


class Pair(Format):
    def __init__(self, columns, tags):
        self.columns = columns

    def read(self, row, kind):
        row = Row(row, self.columns)
        asked = Turn("user", (Text(row.text("ask", needed=True)),))
        return Conversation((asked, answer(row.text("say"), row.names["say"])))


@hookimpl
def tunesmith_formats():
    columns = {"ask": "ask", "say": "say"}
    return [FormatSpec("pair", "tunesmith_local:Pair", "For tests.", yields=("conversation",), columns=columns, default=True)]


@hookimpl
def tunesmith_templates():
    return [TemplateSpec("small", str(Path(__file__).with_name("small.toml")), "small")]


@hookimpl
def tunesmith_trainers():
    return [TrainerSpec("sft", "nowhere:Trainer", "For tests.", wants=("conversation",))]
"""
TEMPLATE = """[small]
summary = "For tests"
user = "<|im_start|>{content}<|im_end|>"
prompt = "<s>"
reply = "{content}<|im_end|>"
stop = ["<|im_end|>"]
"""
RUN = """
model_name_or_path: {folder}/model
train_from_scratch: true
stage: sft
template: small
dataset: mine
dataset_dir: {folder}
data_cache_dir: {folder}/cache
output_dir: {folder}/out
"""
CONFIG = {
    "model_type": "llama",
    "vocab_size": 400,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_tokenizer(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tunesmith_local.py").write_text(PLUGIN)
    (tmp_path / "small.toml").write_text(TEMPLATE)
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.jsonl"}}')
    write_rows(tmp_path, [("hello", "good morning"), ("What is two plus two?", "four")])
    file = tmp_path / "run.yaml"
    file.write_text(RUN.format(folder=tmp_path))
    monkeypatch.setattr("sys.argv", ["tunesmith", str(file)])
    return str(file)


def write_rows(folder: Path, rows: list[tuple[str, str]]) -> None:
    text = "".join(json.dumps({"ask": ask, "say": say}) + "\n" for ask, say in rows)
    (folder / "mine.jsonl").write_text(text)


def tunesmith(*arguments: str) -> int:
    return main(["--only", "local", "data", *arguments])


def test_the_report_is_a_table_or_json(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tunesmith("report", run) == 0
    shown = capsys.readouterr().out
    assert "mine (train)" in shown
    assert "train: 2 examples" in shown
    assert tunesmith("report", run, "--json", "max_samples=1") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["sources"][0]["rows_in"], report["views"][0]["examples"]) == (1, 1)


def test_bad_rows_are_shown_and_make_the_status_two(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(Path(run).parent, [("hello", ""), ("", "x"), ("hello", "good morning")])
    assert tunesmith("report", run) == 2
    told = capsys.readouterr()
    assert f"bad row: {Path(run).parent}/mine.jsonl:1: say: there is no answer" in told.out
    assert "train refuses this data: max_bad_rows is 0" in told.err
    assert tunesmith("report", run, "max_bad_rows=2", "--bad-rows", "1") == 0
    assert "mine: 1 more bad rows" in capsys.readouterr().out


def test_an_output_folder_that_holds_a_run_is_no_obstacle(run: str) -> None:
    out = Path(run).parent / "out"
    out.mkdir()
    (out / "plan.json").write_text("{}")
    assert tunesmith("report", run) == 0


def test_the_preview_marks_what_is_learned(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tunesmith("preview", run, "1") == 0
    shown = capsys.readouterr().out
    assert "<|im_start|>hello<|im_end|><s>⟦good morning<|im_end|>⟧" in shown
    assert "mine.jsonl:1" in shown
    assert "mine.jsonl:2" not in shown
    write_rows(Path(run).parent, [("hello", "")])
    assert tunesmith("preview", run, "train_on_prompt=true") == 0
    assert "bad row: say: there is no answer" in capsys.readouterr().out


def test_what_is_missing_is_an_error_of_two_lines(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tunesmith("report", run, "dataset=mien") == 2
    told = capsys.readouterr().err
    assert "there is no dataset 'mien'" in told
    assert "Did you mean 'mine'?" in told
