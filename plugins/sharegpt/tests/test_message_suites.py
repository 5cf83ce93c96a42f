"""Both formats pass the kit."""

from __future__ import annotations

from typing import Any, ClassVar

from tunesmith.data.conversation import Conversation, Feedback, Preference, Prompt, Text, Turn
from tunesmith.testing import FormatSuite
from tunesmith_sharegpt.plugin import tunesmith_formats

SHAREGPT, OPENAI = tunesmith_formats()
ASKED = Turn("user", (Text("Add 2 and 2."),))
SAID, WRONG = (Turn("assistant", (Text(text),)) for text in ("4", "5"))
TALK = Conversation((ASKED, SAID))


def cases(messages: str, role: str, content: str, user: str, assistant: str) -> tuple[Any, ...]:
    """The same conversations in the words of one format."""
    asked, said, wrong = (
        {role: who, content: text} for who, text in ((user, "Add 2 and 2."), (assistant, "4"), (assistant, "5"))
    )
    return (
        ("conversation", {messages: [asked, said]}, TALK),
        (
            "preference",
            {messages: [asked], "chosen": said, "rejected": wrong},
            Preference(Conversation((ASKED,)), (SAID,), (WRONG,)),
        ),
        ("feedback", {messages: [asked, said], "good": True}, Feedback(TALK, True)),
        ("prompt", {messages: [asked], "level": 3}, Prompt(Conversation((ASKED,)), {"level": 3})),
    )


class TestShareGpt(FormatSuite):
    """from, value; human, gpt."""

    spec = SHAREGPT
    columns: ClassVar[dict[str, str | None]] = {"kto_tag": "good"}
    cases = cases("conversations", "from", "value", "human", "gpt")
    bad: ClassVar[tuple[Any, ...]] = (("conversation", {"conversations": [{"from": "human", "value": "Hi"}]}, "conversations"),)


class TestOpenAi(FormatSuite):
    """role, content; user, assistant."""

    spec = OPENAI
    columns: ClassVar[dict[str, str | None]] = {"kto_tag": "good"}
    cases = cases("messages", "role", "content", "user", "assistant")
    bad: ClassVar[tuple[Any, ...]] = (("conversation", {"messages": [{"role": "user", "content": "Hi"}]}, "messages"),)
