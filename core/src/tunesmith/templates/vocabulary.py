"""The words that slots and conditions may use, with what they mean; the reference page is made from this table."""

from __future__ import annotations

from collections.abc import Mapping

#: What ``{…}`` may write.
VALUES: Mapping[str, str] = {
    "bos": "the token that begins a text: the tokenizer's own, else the table's `bos`",
    "eos": "the token that ends a text: the tokenizer's own, else the table's `eos`",
    "date": "the day, in the table's date format",
    "effort": "`reasoning_effort`, else the table's `effort`",
    "system": "the system text, given or default",
    "content": "the turn's words",
    "role": "the turn's role",
    "thought": "the turn's reasoning, where it is shown",
    "thinking": "the reasoning between the table's `open` and `close`, or nothing",
    "tools": "the declaration of the tools; in a loop, the tools",
    "calls": "the turn's calls as the tool syntax writes them; in a loop, the calls",
    "results": "the results of consecutive tool turns, for loops",
    "it": "in a part: what the part is about",
    "name": "in a part: what that is called, where `{part … as key}` says so",
    "round": "how many turns the user has had, this one counted",
    "loop_index": "in a loop: how many items came before",
    "lbrace": "an opening brace, where one before a word would be taken for a tag",
}

#: What conditions may ask besides the values above. A text counts as true when it is not empty, `system` when there is one.
FACTS: Mapping[str, str] = {
    "first": "the first turn of its role",
    "opening": "the very first turn",
    "last": "the last turn of the conversation",
    "last_user": "no user turn comes later",
    "after_last_user": "the last user turn came earlier",
    "last_answer": "no answer comes later",
    "answered": "an answer without calls comes later",
    "after_user": "the turn before is a user's",
    "after_assistant": "the turn before is the assistant's",
    "after_tool": "the turn before is a tool's",
    "before_user": "the turn after is a user's",
    "before_assistant": "the turn after is the assistant's",
    "before_tool": "the turn after is a tool's",
    "generating": "the text ends where an answer starts",
    "awaited": "the answer is still to come: what is written is the end of a prompt",
    "system_given": "the conversation brought its own system text",
    "thought_given": "the turn has reasoning, shown or not",
    "many_calls": "the turn has more than one call",
    "calls_without_ids": "a call of the turn has no id",
    "results_without_ids": "a result of the turn has no id",
    "thinking_on": "`enable_thinking` is true",
    "thinking_off": "`enable_thinking` is false",
    "preserve": "`preserve_thinking` is true",
    "loop_first": "in a loop: the first item",
    "loop_last": "in a loop: the last item",
}

#: `{if value is text}`: the kinds a condition may test for, and the Jinja test of the same meaning.
KINDS: Mapping[str, str] = {
    "text": "{0} is string",
    "number": "({0} is number and {0} is not boolean)",
    "boolean": "{0} is boolean",
    "object": "{0} is mapping",
    "list": "({0} is sequence and {0} is not string and {0} is not mapping)",
    "missing": "({0} is undefined or {0} is none)",
}
