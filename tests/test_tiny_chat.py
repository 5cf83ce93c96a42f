"""The chat templates that small models bring say what our own templates of the same name say."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from transformers import AutoTokenizer
from tunesmith.data.conversation import Conversation, Text, Turn
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import families, make_tiny
from tunesmith.templates import renderer_for

SAID = ("Who are you?", "A small model.", "Since when?")
SHARED = {name: family for name, family in families().items() if family.chat in Plugins().templates}


def test_nearly_every_family_has_a_template_of_ours() -> None:
    # LLaVA's published text ends no answer; its small model's does.
    assert set(families()) - set(SHARED) <= {"gpt-oss", "llava"}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The tokenizer of a small model, by family."""
    root = tmp_path_factory.mktemp("chat")
    return cache(lambda name: AutoTokenizer.from_pretrained(make_tiny(name, root / name, layers=1)))


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_small_models_render_as_our_templates_do(name: str, turns: int, system: str, tokenizers: Callable[[str], Any]) -> None:
    spoken = [("system", system)] * bool(system) + [(("user", "assistant")[i % 2], text) for i, text in enumerate(SAID[:turns])]
    renderer = renderer_for(Plugins().templates.get(SHARED[name].chat).spec)
    conversation = Conversation(tuple(Turn(role, (Text(text),)) for role, text in spoken))  # type: ignore[arg-type]
    asks = spoken[-1][0] == "user"
    expected = renderer.render(conversation, generation_prompt=asks).text
    messages = [{"role": role, "content": text} for role, text in spoken]
    assert tokenizers(name).apply_chat_template(messages, tokenize=False, add_generation_prompt=asks) == expected
