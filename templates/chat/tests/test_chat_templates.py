"""Every template of this package against its goldens and against what all templates promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tunesmith import ToolSyntaxSpec
from tunesmith.data.conversation import Call, Conversation, Text, Turn
from tunesmith.errors import TunesmithError
from tunesmith.templates import renderer_for, syntax_in, templates_in
from tunesmith.templates.auto import DEFAULT_DAY
from tunesmith.templates.lines import Line
from tunesmith.templates.samples import SAMPLES
from tunesmith.templates.sandbox import run as run_jinja
from tunesmith.testing import PluginSuite, TemplateSuite, ToolSyntaxSuite
from tunesmith_chat_templates.plugin import tunesmith_tool_syntaxes

FOLDER = Path(__file__).parent
SPECS = {spec.name: spec for spec in templates_in("tunesmith_chat_templates")}
SYNTAXES = {spec.name: spec for spec in tunesmith_tool_syntaxes()}


class TestPlugin(PluginSuite):
    plugin = "chat-templates"
    folder = FOLDER.parent


def suite(name: str, **more: Any) -> type[TemplateSuite]:
    """The suite for one template."""
    found = {"template": SPECS[name], "goldens": FOLDER / "goldens" / f"{name}.jsonl", "__module__": __name__, **more}
    return type(f"Test_{name}", (TemplateSuite,), found)


#: What a family does otherwise than the suite takes for granted.
OTHERWISE: dict[str, dict[str, Any]] = {name: {"ends_with_stop": False} for name in (
    "bailing", "baichuan2", "baichuan2_vllm", "breeze", "chatglm2", "chatglm3", "codegeex4", "cpm", "glm4", "glm4_0414",
    "glm4_1m", "glm4_5v", "glm4_6", "glm4_7", "glm4_moe", "gpt", "gpt_oss", "index", "llava", "llava_next", "llava_next_video",
    "dots_ocr", "empty", "falcon", "falcon_11b", "fewshot", "phi", "phi3_5_mini", "phi4_mini", "phi_small",
    "command_r_tool_use",
    "solar", "yayi", "ziya",
)}  # fmt: skip

globals().update({f"Test_{name}": suite(name, **OTHERWISE.get(name, {})) for name in SPECS})


def test_every_template_has_goldens() -> None:
    assert {path.stem for path in (FOLDER / "goldens").glob("*.jsonl")} == set(SPECS)


class TestDefaultSyntax(ToolSyntaxSuite):
    spec: ToolSyntaxSpec = SYNTAXES["default"]


class TestQwenSyntax(ToolSyntaxSuite):
    spec: ToolSyntaxSpec = SYNTAXES["qwen"]


class TestQwen35Syntax(ToolSyntaxSuite):
    spec: ToolSyntaxSpec = SYNTAXES["qwen3_5"]


class TestLlama3Syntax(ToolSyntaxSuite):
    spec: ToolSyntaxSpec = SYNTAXES["llama3"]
    beside_words = False


class TestMistralSyntax(ToolSyntaxSuite):
    spec: ToolSyntaxSpec = SYNTAXES["mistral"]


class TestGlm4Syntax(ToolSyntaxSuite):
    spec: ToolSyntaxSpec = SYNTAXES["glm4"]
    beside_words = False


@pytest.mark.parametrize("name", ["chatglm3", "codegeex4", "glm4", "glm4_0414"])
def test_glm_writes_calls_in_its_own_places_when_asked_to(name: str) -> None:
    line = Line(SAMPLES["call and result"])
    with pytest.raises(TunesmithError, match=r"cannot (declare any|write calls)"):
        renderer_for(SPECS[name]).render(line.conversation)
    text = renderer_for(SPECS[name], tools=syntax_in("tunesmith_chat_templates", "glm4")).render(line.conversation).text
    assert 'find_weather\n{"place": "Oslo", "days": 1}<|observation|>\n' in text


class TestGlm4MoeSyntax(ToolSyntaxSuite):
    spec: ToolSyntaxSpec = SYNTAXES["glm4_moe"]


class TestLingSyntax(ToolSyntaxSuite):
    spec: ToolSyntaxSpec = SYNTAXES["ling"]


@pytest.mark.parametrize("name", sorted(SPECS))
def test_summaries_and_sources_are_told(name: str) -> None:
    """Whoever picks a template can see whose it is."""
    from tunesmith.templates.parse import read_template

    assert SPECS[name].summary
    assert read_template(SPECS[name]).source


@pytest.mark.parametrize("name", ["qwen3_5", "glm4_moe", "glm4_7", "minimax2", "mimo_v2", "seed_oss", "hy3"])
def test_bare_arguments_are_read_as_their_schemas_have_them(name: str) -> None:
    """Text that reads like a number stays text where the tool wants text."""
    fields = {"zip": {"type": "string"}, "days": {"type": "integer"}, "note": {"type": ["string", "null"]}}
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": fields}}}
    renderer, call = renderer_for(SPECS[name]), Call("find", {"zip": "01234", "days": 12, "note": '{"a": 1}'})
    whole = renderer.render(Conversation((Turn("user", (Text("Hi"),)), Turn("assistant", (call,))), (tool,)))
    said = whole.text[slice(*whole.learned[-1])]
    found = [part for part in renderer.parse_reply(said, (tool,)).parts if isinstance(part, Call)]
    assert [dict(part.arguments) for part in found] == [call.arguments], said
    bare = [part for part in renderer.parse_reply(said).parts if isinstance(part, Call)]
    assert bare[0].arguments["days"] == 12
    assert bare[0].arguments["note"] == {"a": 1}


@pytest.mark.parametrize("asked", ["low", "medium", "high"])
def test_gpt_oss_is_told_how_much_to_reason(asked: str) -> None:
    """By the run, by one conversation, and by the chat template beside a trained model: one text."""
    renderer = renderer_for(SPECS["gpt_oss"])
    talk = (Turn("user", (Text("Hi"),)),)
    text = renderer.render(Conversation(talk, effort=asked), generation_prompt=True).text
    assert f"\n\nReasoning: {asked}\n\n" in text
    run = renderer.with_options(effort=asked)
    assert run.render(Conversation(talk), generation_prompt=True).text == text
    for source, told in ((run.chat_template(), {}), (renderer.chat_template(), {"reasoning_effort": asked})):
        messages = [{"role": "user", "content": "Hi"}]
        assert run_jinja(source, messages, DEFAULT_DAY, tools=None, add_generation_prompt=True, **told) == text


def test_what_a_template_cannot_be_told_is_refused_by_name() -> None:
    talk = (Turn("user", (Text("Hi"),)),)
    for name, asked, says in (
        ("qwen3", Conversation(talk, effort="low"), "reasoning_effort"),
        ("gpt_oss", Conversation(talk, effort="huge"), "reasoning_effort"),
        ("gpt_oss", Conversation(talk, thinking=False), "thinking"),
        ("llama3", Conversation(talk, thinking=True), "thinking"),
    ):
        with pytest.raises(TunesmithError, match=says):
            renderer_for(SPECS[name]).render(asked, generation_prompt=True)


def test_one_conversation_can_leave_thoughts_out() -> None:
    talk = (Turn("user", (Text("Hi"),)),)
    renderer = renderer_for(SPECS["qwen3"]).with_options(enable_thinking=True)
    off = renderer.render(Conversation(talk, thinking=False), generation_prompt=True).text
    assert off == renderer.with_options(enable_thinking=False).render(Conversation(talk), generation_prompt=True).text
    assert off != renderer.render(Conversation(talk), generation_prompt=True).text
