"""The format passes the kit."""

from __future__ import annotations

from typing import Any, ClassVar

from tunesmith.data.conversation import Conversation, Document, Feedback, Preference, Prompt, Text, Turn
from tunesmith.testing import FormatSuite
from tunesmith_alpaca.plugin import tunesmith_formats

ASKED = Turn("user", (Text("Add 2 and 2."),))
SAID = Turn("assistant", (Text("4"),))
ROW = {"instruction": "Add 2 and 2.", "output": "4"}


class TestAlpaca(FormatSuite):
    """All five kinds."""

    spec = tunesmith_formats()[0]
    columns: ClassVar[dict[str, str | None]] = {"kto_tag": "good", "system": "system"}
    cases = (
        ("conversation", ROW, Conversation((ASKED, SAID))),
        ("conversation", {**ROW, "system": "Be brief."}, Conversation((Turn("system", (Text("Be brief."),)), ASKED, SAID))),
        (
            "preference",
            {"instruction": "Add 2 and 2.", "chosen": "4", "rejected": "5"},
            Preference(Conversation((ASKED,)), (SAID,), (Turn("assistant", (Text("5"),)),)),
        ),
        ("feedback", {**ROW, "good": False}, Feedback(Conversation((ASKED, SAID)), False)),
        ("document", {"instruction": "A text."}, Document("A text.")),
        ("prompt", ROW, Prompt(Conversation((ASKED,)), {"output": "4"})),
    )
    bad: ClassVar[tuple[Any, ...]] = (("conversation", {**ROW, "input": 3}, "input"),)
