"""``tunesmith template``: what people script against, and what they are told."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tunesmith.cli.template import template
from tunesmith.errors import TunesmithError
from tunesmith.plugins import Plugins

TABLE = """
[acme]
summary = "Acme"
system = "<s>{system}</s>"
user = "<u>{content}</u>"
prompt = "<a>"
reply = "{if thought}<t>{thought}</t>{end}{content}</a>"
start = "{if thinking_off}<t></t>{end}"
thinking = { open = "<t>", close = "</t>" }
stop = ["</a>"]
"""
OWN = """{% for m in messages %}{{ {'user': '<u>', 'assistant': '<a>', 'system': '<s>'}[m.role] + m.content
+ {'user': '</u>', 'assistant': '</a>', 'system': '</s>'}[m.role] }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"""
TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """A plugin with one template."""
    package = tmp_path / "acme_command"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "acme.toml").write_text(TABLE, encoding="utf-8")
    (package / "plugin.py").write_text(
        "from tunesmith import hookimpl\nfrom tunesmith.templates import templates_in\nTUNESMITH_API = (1, 0)\n"
        "@hookimpl\ndef tunesmith_templates():\n    return templates_in('acme_command')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return Plugins(found=[EntryPoint("acme", "acme_command.plugin", "tunesmith")])


def run(plugins: Plugins, *words: object, **more: Any) -> Result:
    return CliRunner().invoke(template, [str(word) for word in words], obj=plugins, **more)


def lines(tmp_path: Path, *told: Any) -> Path:
    file = tmp_path / "lines.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in told), encoding="utf-8")
    return file


def test_list_shows_names_summaries_and_owners(acme: Plugins) -> None:
    assert run(acme, "list").output == "acme  Acme  (acme)\n"
    assert json.loads(run(acme, "list", "--json").output)[0]["name"] == "acme"


def test_render_answers_every_line_with_one(acme: Plugins, tmp_path: Path) -> None:
    prompt = {"messages": TALK[:1], "generation_prompt": True}
    file = lines(
        tmp_path, {"messages": TALK}, prompt, {**prompt, "enable_thinking": False}, {"messages": []}, "no", {"mesages": 1}
    )
    found = [json.loads(line) for line in run(acme, "render", "acme", file).output.splitlines()]
    assert found[0] == {"text": "<u>Hi</u><a>Yo</a>", "learned": [[12, 18]], "stop": ["</a>"]}
    assert found[1] == {"text": "<u>Hi</u><a>", "learned": [], "stop": ["</a>"]}
    assert found[2]["text"] == "<u>Hi</u><a><t></t>"
    assert [list(answer) for answer in found[3:]] == [["error"]] * 3
    assert "Did you mean 'messages'?" in found[5]["error"]


def test_render_reads_standard_input_and_template_files(acme: Plugins, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[mine]\nextends = "acme"\nuser = "<q>{content}"\n', encoding="utf-8")
    found = run(acme, "render", file, "-", input=json.dumps({"messages": TALK}) + "\n")
    assert json.loads(found.output)["text"] == "<q>Hi<a>Yo</a>"


def test_a_name_that_is_not_there_gets_the_nearest(acme: Plugins, tmp_path: Path) -> None:
    found = run(acme, "render", "acmee", lines(tmp_path, {"messages": TALK}))
    assert isinstance(found.exception, TunesmithError)
    assert found.exception.hint == "Did you mean 'acme'?"


def test_auto_wants_to_know_whose(acme: Plugins, tmp_path: Path) -> None:
    found = run(acme, "render", "auto", lines(tmp_path, {"messages": TALK}))
    assert isinstance(found.exception, TunesmithError)
    assert "--model" in found.exception.hint


def model(tmp_path: Path, source: str) -> Path:
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": source, "eos_token": "</a>"}), encoding="utf-8")
    return folder


def test_auto_renders_by_the_models_template(acme: Plugins, tmp_path: Path) -> None:
    found = run(acme, "render", "auto", lines(tmp_path, {"messages": TALK}), "--model", model(tmp_path, OWN))
    assert json.loads(found.output) == {"text": "<u>Hi</u><a>Yo</a>", "learned": [[12, 18]], "stop": ["</a>"]}


def test_check_shows_where_texts_part(acme: Plugins, tmp_path: Path) -> None:
    found = run(acme, "check", "acme", "--against", model(tmp_path, OWN.replace("'</u>'", "'</U>'")))
    assert found.exit_code == 1
    assert "one turn: differs from character 23" in found.output
    assert "▸" in found.output


def test_check_is_content_where_texts_agree(acme: Plugins, tmp_path: Path) -> None:
    only = '[plain]\nextends = "acme"\nthinking = false\nreply = "{content}</a>"\nstart = ""\n'
    file = tmp_path / "plain.toml"
    file.write_text(only, encoding="utf-8")
    found = run(acme, "check", file, "--against", model(tmp_path, OWN))
    assert found.exit_code == 0, found.output
    assert " 0 different" in found.output


def test_a_known_difference_is_told_as_known(acme: Plugins, tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text('[known]\nextends = "acme"\nuser = "<v>{content}</u>"\ndiffers = ["v is better"]\n', encoding="utf-8")
    found = run(acme, "check", file, "--against", model(tmp_path, OWN))
    assert found.exit_code == 0
    assert "known: v is better" in found.output


def test_new_writes_a_file_that_works(acme: Plugins, tmp_path: Path) -> None:
    file = tmp_path / "fresh.toml"
    assert run(acme, "new", "fresh", "--out", file).exit_code == 0
    found = run(acme, "render", file, lines(tmp_path, {"messages": TALK}))
    assert json.loads(found.output)["text"] == "<|user|>\nHi\n<|assistant|>\nYo<|end|>\n"
    assert isinstance(run(acme, "new", "fresh", "--out", file).exception, TunesmithError)


def test_new_can_start_from_an_installed_template(acme: Plugins, tmp_path: Path) -> None:
    file = tmp_path / "child.toml"
    run(acme, "new", "child", "--out", file, "--extends", "acme")
    found = run(acme, "render", file, lines(tmp_path, {"messages": TALK}))
    assert json.loads(found.output)["text"] == "<u>Hi</u><a>Yo</a>"
