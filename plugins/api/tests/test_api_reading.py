"""Reading answers as they come: whatever pieces they come in, a client gets what the whole answer says."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Call, Conversation, Part, Piece, Rendered, Text, Thought, Turn
from tunesmith.errors import TunesmithError
from tunesmith.plugins import Plugins
from tunesmith.templates import renderer_for
from tunesmith_api.marks import find_marks
from tunesmith_api.reading import News, Reader
from tunesmith_api.tool_choice import Choice

from .taught import WEATHER

OFFERED = Plugins().templates
FAMILIES = [
    name for name in ("qwen3", "qwen", "llama3", "mistral", "deepseekr1", "gpt_oss", "glm4", "gemma") if name in OFFERED
]
ANSWERS: tuple[tuple[Part, ...], ...] = (
    (Text("It is 5 < 6.\n\nAnd {more} [so] it ends."),),
    (Thought("Two and\nthree <b>make</b> five."), Text("It is 5.")),
    (Text("I look."), Call("weather", {"city": "Oslo"}, "call00001")),
    (Call("weather", {"city": "Oslo"}, "call00001"), Call("weather", {"city": "Rome"}, "call00002")),
    (Thought("I need the weather."), Call("weather", {"city": "Oslo"}, "call00001")),
)


def written(renderer: Renderer, parts: tuple[Part, ...], tools: tuple[object, ...]) -> str | None:
    """What a model would generate for an answer; ``None`` where the template has no place for it."""
    asked = Turn("user", (Text("a"),))
    try:
        whole = Conversation((asked, Turn("assistant", parts)), tools)  # type: ignore[arg-type]
        pieces = renderer.render(whole).pieces
    except TunesmithError:
        return None
    text = "".join(piece.text for piece in pieces if piece.weight > 0)
    for stop in renderer.stop:
        text = text.removesuffix(stop)
    return text


def pieces_of(text: str, seed: int) -> list[str]:
    source, found = random.Random(seed), []
    while text:
        size = source.randint(1, 7)
        found.append(text[:size])
        text = text[size:]
    return found


def told(renderer: Renderer, choice: Choice, text: str, seed: int) -> tuple[News, int]:
    """All that a stream said, and in how many pieces its words came."""
    reader = Reader(renderer, find_marks(renderer), choice)
    news = [reader.add(piece) for piece in pieces_of(text, seed)] + [reader.end()]
    calls = tuple(call for one in news for call in one.calls)
    words = [one.words for one in news if one.words]
    return News("".join(one.thought for one in news), "".join(words), calls), len(words)


def cases() -> Iterator[tuple[str, int]]:
    """Every template with the answers that it has a place for."""
    for family in FAMILIES:
        renderer = renderer_for(OFFERED.get(family).spec)
        yield from ((family, at) for at, parts in enumerate(ANSWERS) if written(renderer, parts, tools_of(parts)) is not None)


def tools_of(parts: tuple[Part, ...]) -> tuple[dict[str, object], ...]:
    return (WEATHER,) if any(isinstance(part, Call) for part in parts) else ()


@pytest.mark.parametrize(("family", "at"), list(cases()))
def test_a_stream_says_what_the_whole_answer_says(family: str, at: int) -> None:
    renderer, parts = renderer_for(OFFERED.get(family).spec), ANSWERS[at]
    tools = tools_of(parts)
    text = written(renderer, parts, tools) or ""
    choice = Choice(tools)
    whole = Reader(renderer, find_marks(renderer), choice).whole(text)
    for seed in range(20):
        streamed, words = told(renderer, choice, text, seed)
        assert (streamed.thought.strip(), streamed.words.strip()) == (whole.thought.strip(), whole.words.strip())
        assert streamed.calls == whole.calls
        assert tools or words > 2 or len(whole.words) < 20, "the words came all at once"
    if not tools:
        assert whole.words.strip() == next(part.text for part in parts if isinstance(part, Text))
    assert [call.arguments for call in whole.calls] == [part.arguments for part in parts if isinstance(part, Call)]


def test_what_looks_like_a_call_is_words_where_no_tool_was_offered() -> None:
    renderer = renderer_for(OFFERED.get("qwen3").spec)
    text = 'Write <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call> and wait.'
    for seed in range(5):
        said, _ = told(renderer, Choice(), text, seed)
        assert (said.words, said.calls) == (text, ())


def test_a_thought_that_never_ends_is_all_thought() -> None:
    renderer = renderer_for(OFFERED.get("qwen3").spec)
    said, _ = told(renderer, Choice(), "<think>\nOn and on", 1)
    assert (said.thought, said.words) == ("On and on", "")


class Opening(Renderer):
    """qwen3, whose prompts end with the tag that opens a thought, as DeepSeek-R1's do."""

    def __init__(self) -> None:
        self.inner = renderer_for(OFFERED.get("qwen3").spec)
        self.stop = self.inner.stop

    def render(self, conversation: Conversation, *, generation_prompt: bool = False) -> Rendered:
        rendered = self.inner.render(conversation, generation_prompt=generation_prompt)
        more = (Piece("<think>\n", True),) if generation_prompt else ()
        return replace(rendered, pieces=(*rendered.pieces, *more))

    def parse_reply(self, text: str, tools: Sequence[Mapping[str, Any]] = ()) -> Turn:
        return self.inner.parse_reply(text, tools)

    def chat_template(self) -> str:
        return self.inner.chat_template()

    def ollama(self) -> str:
        return self.inner.ollama()


def test_a_prompt_may_have_begun_the_thought() -> None:
    renderer = Opening()
    assert find_marks(renderer).opened
    for text, thought, words in (("On and on\n</think>\n\nDone.", "On and on", "Done."), ("On and", "On and", "")):
        said, _ = told(renderer, Choice(), text, 1)
        assert (said.thought, said.words) == (thought, words)


def test_a_forced_call_is_read_from_its_json() -> None:
    renderer = renderer_for(OFFERED.get("qwen3").spec)
    named, _ = told(renderer, Choice((WEATHER,), "{}", "weather"), '{"city": "Oslo"}', 1)
    assert named == News("", "", (Call("weather", {"city": "Oslo"}),))
    some, _ = told(renderer, Choice((WEATHER,), "{}", ""), '{"name": "weather", "arguments": {"city": "Oslo"}}', 1)
    assert some == News("", "", (Call("weather", {"city": "Oslo"}),))
    cut, _ = told(renderer, Choice((WEATHER,), "{}", ""), '{"name": "wea', 1)
    assert cut == News("", '{"name": "wea', ())
