"""Random conversations: the published chat templates that trl carries, our renderer and our exported Jinja say the same."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tunesmith.contracts import RewrittenReplies
from tunesmith.data.conversation import Call, Conversation, Rendered, Text, Turn
from tunesmith.data.openai_messages import conversation_from_openai
from tunesmith.errors import TunesmithError
from tunesmith.plugins import Plugins
from tunesmith.templates import renderer_for, templates_in
from tunesmith.templates.auto import AutoRenderer, without_marks
from tunesmith.templates.likeness import like
from tunesmith.templates.render import DeclaredRenderer
from tunesmith.templates.samples import WEATHER
from tunesmith.templates.sandbox import Refused, run
from tunesmith.templates.tokenizer_facts import tokenizer_facts

SPECS = {spec.name: spec for spec in templates_in("tunesmith_chat_templates")}
#: Our name → the file in trl's folder of templates.
PUBLISHED = {
    "qwen": "qwen2_5", "qwen3": "qwen3", "llama3": "llama3_1", "llama3_2": "llama3_2", "llama3_0": "llama3",
    "gemma": "gemma", "gemma3": "gemma3", "mllama": "llama3_2", "lfm2_0": "lfm2_v2", "minicpm_v_4_6": "qwen3_5_nothink",
    "qwen2_vl": "qwen2_5_vl", "qwen3_nothink": "qwen3_instruct_2507", "qwen3_vl_nothink": "qwen3_vl",
    "qwen3_5": "qwen3_5_think", "qwen3_5_nothink": "qwen3_5_nothink", "qwen3_6": "qwen3_6",
}  # fmt: skip
DAY = "2024-07-26"
TEXTS = (
    "", "  ", "hi", "\n\nhi\n", " {{x}} {content} ", "<think>a</think>b", "a</think>\n\nb", '"q"\n\\', "中文 مرحبا é",
    "```c\nx\n```", "<|im_end|>x", '{"a": 1}',
)  # fmt: skip
VALUES = (1, 2.5, None, True, [1], {"x": "y"})


class Talk:
    """Random conversations in OpenAI's form."""

    def __init__(self, seed: int, reasoning: bool) -> None:
        self.dice = random.Random(seed)
        self.reasoning = reasoning

    def pick(self, *of: Any) -> Any:
        return self.dice.choice(of)

    def conversation(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None, bool]:
        """Messages, tools, and whether the text ends where an answer starts."""
        tools = [self.tool() for _ in range(self.dice.randint(1, 3))] if self.dice.random() < 0.4 else None
        messages = [{"role": "system", "content": self.pick(*TEXTS)}] if self.dice.random() < 0.4 else []
        turns = self.dice.randint(1, 4)
        for turn in range(turns):
            messages.append({"role": "user", "content": self.pick(*TEXTS)})
            while tools and self.dice.random() < 0.4:
                messages += self.calls()
            if turn < turns - 1 or self.dice.random() < 0.6:
                messages.append(self.answer({"content": self.pick(*TEXTS)}))
        return messages, tools, messages[-1]["role"] != "assistant"

    def tool(self) -> dict[str, Any]:
        properties = {"a": {"type": "string", "description": self.pick(*TEXTS)}}
        parameters = {"type": "object", "properties": properties, "required": ["a"]}
        function = {"name": self.pick("f", "g_h"), "description": self.pick("d", 'say "x"\n y'), "parameters": parameters}
        return {"type": "function", "function": function}

    def calls(self) -> list[dict[str, Any]]:
        made = [
            {"id": f"abcdefgh{at}", "type": "function", "function": {"name": self.pick("f", "g_h"), "arguments": arguments}}
            for at, arguments in enumerate(self.arguments() for _ in range(self.dice.randint(1, 3)))
        ]
        results = [
            {"role": "tool", "content": self.pick(*TEXTS), "tool_call_id": call["id"], "name": call["function"]["name"]}
            for call in made
        ]
        return [self.answer({"content": self.pick("", "", "let me"), "tool_calls": made}), *results]

    def arguments(self) -> dict[str, Any]:
        return {"a": self.pick(*TEXTS), "n": self.pick(*VALUES)}

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if self.reasoning and self.dice.random() < 0.3:
            message["reasoning_content"] = self.pick(*TEXTS[2:])
        return {"role": "assistant", **message}


def theirs(source: str, renderer: DeclaredRenderer, talk: Any, **known: Any) -> str | None:
    messages, tools, generating = talk
    ends = {"bos_token": renderer.bos, "eos_token": renderer.eos}
    try:
        return without_marks(run(source, messages, DAY, tools=tools, add_generation_prompt=generating, **ends, **known))[0]
    except Refused:
        return None


def ours(renderer: DeclaredRenderer, talk: Any) -> str | None:
    messages, tools, generating = talk
    try:
        return renderer.render(conversation_from_openai(messages, tools), generation_prompt=generating).text
    except TunesmithError:
        return None


def trl_folder() -> Path | None:
    found = find_spec("trl")
    return Path(found.origin).parent / "chat_templates" if found is not None and found.origin is not None else None


def trl_names() -> list[str]:
    folder = trl_folder()
    return sorted(path.stem for path in folder.glob("*.jinja")) if folder else []


def trl_template(name: str) -> str:
    folder = trl_folder()
    if folder is None:
        pytest.skip("trl is not installed")
    return (folder / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_templates_say_the_same(name: str) -> None:
    source = trl_template(PUBLISHED[name])
    plain = renderer_for(SPECS[name])
    talk = Talk(seed=7, reasoning=plain.template.thinking is not None)
    seen: Counter[str] = Counter()
    for _ in range(150):
        asked = talk.pick(None, True, False)
        one = talk.conversation()
        text = ours(plain.with_options(enable_thinking=asked), one)
        published = theirs(source, plain, one, **({} if asked is None else {"enable_thinking": asked}))
        if text is not None and published is not None:
            assert text == published, one
        seen["same" if text is not None else "refused"] += 1
    assert seen["same"] > 40


@pytest.mark.parametrize("name", sorted(SPECS))
def test_exported_chat_templates_say_the_same(name: str) -> None:
    renderer = renderer_for(SPECS[name])
    source = renderer.chat_template()
    talk = Talk(seed=11, reasoning=True)
    for _ in range(60):
        one = talk.conversation()
        assert theirs(source, renderer, one) == ours(renderer, one), one


ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<turn|>", "<|end|>", "<|return|>", "<|call|>", "<｜end▁of▁sentence｜>")


def own(source: str, tmp_path: Path) -> AutoRenderer:
    """A renderer by a published template, with the tokens that it writes."""
    special = [{"id": at, "content": token, "special": True} for at, token in enumerate(ENDS) if token in source]
    eos = special[-1]["content"] if special else "</s>"
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": special, "model": {}}), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos, "bos_token": "<s>"}), encoding="utf-8")
    (tmp_path / "chat_template.jinja").write_text(source, encoding="utf-8")
    return AutoRenderer(tokenizer_facts(tmp_path), {})


def told(renderer: AutoRenderer, turns: Conversation) -> tuple[Rendered, str] | TunesmithError:
    """A conversation as it is learned and the prompt of its last answer, or why there is none."""
    asked = replace(turns, turns=turns.turns[:-1])
    try:
        return renderer.render(turns), renderer.render(asked, generation_prompt=True).text
    except TunesmithError as error:
        return error


@pytest.mark.parametrize("name", trl_names())
def test_auto_learns_what_the_model_said_or_names_the_turn(name: str, tmp_path: Path) -> None:
    renderer = own(trl_template(name), tmp_path)
    talk = Talk(seed=3, reasoning=True)
    for _ in range(15):
        messages, tools, _ = talk.conversation()
        asked = messages if messages[-1]["role"] != "assistant" else messages[:-1]
        turns = conversation_from_openai([*asked, {"role": "assistant", "content": "The end."}], tools)
        found = told(renderer, turns)
        if isinstance(found, RewrittenReplies):
            assert all(turns.turns[at].role == "assistant" for at in found.turns)
        if isinstance(found, TunesmithError):
            assert str(found).startswith(("Turn ", "The tokenizer's own template leaves out the tool"))
            continue
        rendered, prompt = found
        start, end = rendered.learned[-1]
        assert "The end." in rendered.text[start:end]
        assert start >= len(prompt) or not rendered.text.startswith(prompt)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_auto_and_the_declared_template_learn_the_same(name: str, tmp_path: Path) -> None:
    """Wherever both see the whole conversation in one text."""
    automatic, declared = own(trl_template(PUBLISHED[name]), tmp_path), renderer_for(SPECS[name])
    talk, compared = Talk(seed=5, reasoning=False), 0
    for _ in range(25):
        messages, tools, _ = talk.conversation()
        asked = messages if messages[-1]["role"] != "assistant" else messages[:-1]
        turns = conversation_from_openai([*asked, {"role": "assistant", "content": "The end."}], tools)
        try:
            one, two = declared.with_options(bos=automatic.facts.bos).render(turns), automatic.render(turns)
        except TunesmithError:
            continue
        assert one.text == two.text
        assert [one.text[start:end].rstrip() for start, end in one.learned] == [
            two.text[start:end].rstrip() for start, end in two.learned
        ]
        compared += 1
    assert compared > 3


#: The published templates whose answers an installed template reads, calls included.
READ = ("qwen2_5", "qwen3", "qwen3_5_think", "llama3_1", "glm4moe", "gptoss", "gemma4", "lfm2_v2")


@pytest.mark.parametrize("name", READ)
def test_auto_reads_back_what_it_writes(name: str, tmp_path: Path) -> None:
    plugins = Plugins(only=["chat-templates"])
    renderer = AutoRenderer(own(trl_template(name), tmp_path).facts, {}, partial(like, plugins=plugins))
    call = Call("find_weather", {"place": "Oslo", "days": 2, "more": {"clear": True}}, "abcdefgh1")
    asked = Turn("user", (Text("Is it cold?"),))
    whole = renderer.render(Conversation((asked, Turn("assistant", (call,))), (WEATHER,)))
    said = whole.text[slice(*whole.learned[-1])]
    found = [part for part in renderer.parse_reply(said).parts if isinstance(part, Call)]
    assert [(part.name, part.arguments) for part in found] == [(call.name, call.arguments)], said
    assert renderer.parse_reply("Just words.").parts == (Text("Just words."),)
