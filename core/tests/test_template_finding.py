"""From a run's plan to its renderer."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from tunesmith.data.conversation import Call, Conversation, Text, Turn
from tunesmith.errors import TunesmithError
from tunesmith.plugins import Plugins
from tunesmith.templates import make_renderer
from tunesmith.testing.hand_plan import hand_plan

TABLE = """
[acme]
system = "<s>{system}</s>"
user = "<u>{content}</u>"
prompt = "<a>"
reply = "{content}{eos}"
eos = "</a>"
date = { format = "%Y", default = "2024-07-26" }
prefix = "{date}"
"""
PLUGIN = """
from tunesmith import ToolSyntaxSpec, hookimpl
from tunesmith.templates import templates_in
TUNESMITH_API = (1, 0)

@hookimpl
def tunesmith_templates():
    return templates_in("acme_finding")

@hookimpl
def tunesmith_tool_syntaxes():
    return [ToolSyntaxSpec("shout", "acme_finding.plugin:Shout", "In capitals.")]

class Shout:
    marks = ("<!>",)
    def declare(self, tools):
        return "CAN " + " ".join(tool["function"]["name"] for tool in tools)
    def calls(self, calls):
        return "<!>" + " ".join(call.name for call in calls)
    def parse(self, text):
        return text, ()
"""
ASK, SAY = Turn("user", (Text("Hi"),)), Turn("assistant", (Text("Yo"),))
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    package = tmp_path / "acme_finding"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "acme.toml").write_text(TABLE, encoding="utf-8")
    (package / "plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Plugins(found=[EntryPoint("acme", "acme_finding.plugin", "tunesmith")])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<E>"}}), encoding="utf-8")
    tokens = {"added_tokens": [{"id": 0, "content": "<E>", "special": True}], "model": {"vocab": [["x", 0.0]]}}
    (folder / "tokenizer.json").write_text(json.dumps(tokens), encoding="utf-8")
    return folder


def text(plugins: Plugins, model: Path, **keys: Any) -> str:
    return make_renderer(hand_plan(**keys), plugins, model).render(Conversation((ASK, SAY))).text


def test_a_template_by_name_takes_the_tokenizers_end_token(plugins: Plugins, model: Path) -> None:
    assert text(plugins, model, template="acme") == "2024<u>Hi</u><a>Yo<E>"
    assert text(plugins, model, template="acme@acme") == "2024<u>Hi</u><a>Yo<E>"


def test_the_keys_of_a_run_are_followed(plugins: Plugins, model: Path) -> None:
    found = text(plugins, model, template="acme", default_system="Be", template_date="2020-01-01")
    assert found == "2020<s>Be</s><u>Hi</u><a>Yo<E>"


def test_a_date_that_is_none_is_an_error(plugins: Plugins, model: Path) -> None:
    with pytest.raises(TunesmithError, match="'soon' is no date"):
        text(plugins, model, template="acme", template_date="soon")


def test_a_template_file_lies_beside_the_configuration_and_may_extend_what_is_installed(
    plugins: Plugins, model: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    (tmp_path / "mine.toml").write_text('[mine]\nextends = "acme"\nprefix = ""\n', encoding="utf-8")
    plan = replace(hand_plan(template="./mine.toml"), config_folder=str(tmp_path))
    assert make_renderer(plan, plugins, model).render(Conversation((ASK, SAY))).text == "<u>Hi</u><a>Yo<E>"


def test_a_tool_syntax_in_python_is_picked_by_name(plugins: Plugins, model: Path) -> None:
    call = Turn("assistant", (Call("f", {}),))
    renderer = make_renderer(hand_plan(template="acme", tool_format="shout"), plugins, model)
    rendered = renderer.render(Conversation((ASK, call), (TOOL,)))
    assert rendered.text == "2024<s>CAN f</s><u>Hi</u><a><!>f<E>"
    assert [piece.text for piece in rendered.pieces if not piece.control] == ["CAN f", "Hi", "f"]
    with pytest.raises(TunesmithError, match="no tool syntax 'shoot'"):
        make_renderer(hand_plan(template="acme", tool_format="shoot"), plugins, model)


def test_auto_takes_no_tool_format(plugins: Plugins, model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    with pytest.raises(TunesmithError, match="tool_format"):
        make_renderer(hand_plan(template="auto", tool_format="shout"), plugins, model)


def test_a_tokenizer_that_lacks_the_stop_token_is_an_error(plugins: Plugins, model: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text('[odd]\nextends = "acme"\nstop = ["</odd>"]\n', encoding="utf-8")
    with pytest.raises(TunesmithError, match="no token '</odd>'"):
        make_renderer(hand_plan(template=str(tmp_path / "odd.toml")), plugins, model)


def test_no_such_template_names_the_nearest(plugins: Plugins, model: Path) -> None:
    with pytest.raises(TunesmithError) as caught:
        text(plugins, model, template="acm")
    assert caught.value.hint == "Did you mean 'acme'?"
