"""Random conversations: the published chat templates that trl carries, our renderer and our exported Jinja say the same."""

from __future__ import annotations

import random
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tunesmith.data.openai_messages import conversation_from_openai
from tunesmith.errors import TunesmithError
from tunesmith.templates import renderer_for, templates_in
from tunesmith.templates.auto import without_marks
from tunesmith.templates.render import DeclaredRenderer
from tunesmith.templates.sandbox import Refused, run

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


def trl_template(name: str) -> str:
    found = find_spec("trl")
    if found is None or found.origin is None:
        pytest.skip("trl is not installed")
    return (Path(found.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


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
