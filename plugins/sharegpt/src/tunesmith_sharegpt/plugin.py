"""What this package offers."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith import FormatSpec, hookimpl

TUNESMITH_API = (1, 0)

YIELDS = ("conversation", "preference", "feedback", "prompt")
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "conversation": ("messages",),
    "preference": ("messages", "chosen", "rejected"),
    "feedback": ("messages", "kto_tag"),
    "prompt": ("messages",),
}


def columns(messages: str, tools: str | None) -> dict[str, str | None]:
    """The names that differ, and those that do not."""
    media = dict.fromkeys(("images", "videos", "audios"))
    answers = {"chosen": "chosen", "rejected": "rejected", "kto_tag": None}
    return {"messages": messages, "system": None, "tools": tools, **media, **answers}


@hookimpl
def tunesmith_formats() -> list[FormatSpec]:
    """Two formats, which differ in the names and in how a tool call is written."""
    return [
        FormatSpec(
            "sharegpt",
            "tunesmith_sharegpt.sharegpt:ShareGptFormat",
            "A list of messages to a row: from, value; tool calls as JSON text.",
            yields=YIELDS,
            columns=columns("conversations", None),
            tags={
                "role_tag": "from",
                "content_tag": "value",
                "user_tag": "human",
                "assistant_tag": "gpt",
                "observation_tag": "observation",
                "function_tag": "function_call",
                "system_tag": "system",
            },
            required=REQUIRED,
        ),
        FormatSpec(
            "openai",
            "tunesmith_sharegpt.openai:OpenAiFormat",
            "Messages of the OpenAI API: role, content, tool_calls, reasoning_content.",
            yields=YIELDS,
            columns=columns("messages", "tools"),
            tags={
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "observation_tag": "tool",
                "function_tag": "function_call",
                "system_tag": "system",
            },
            required=REQUIRED,
        ),
    ]
