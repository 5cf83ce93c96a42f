"""Whether and how much a model reasons: what the run says, and over it what one conversation asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.data.conversation import Conversation
from tunesmith.errors import TunesmithError
from tunesmith.templates.model import Template

#: The words that templates have for how much.
EFFORTS = ("low", "medium", "high")


def check_effort(template: Template, effort: str | None) -> None:
    """Whether a template can say how much the model reasons.

    :raises TunesmithError: it cannot, or knows no such effort.
    """
    if effort is None:
        return
    if not template.effort:
        raise TunesmithError(
            f"reasoning_effort: the template {template.name!r} has no place for it.", "Leave it out; enable_thinking may do."
        )
    if effort not in EFFORTS:
        raise TunesmithError(f"reasoning_effort: there is no {effort!r}.", f"Write one of {', '.join(EFFORTS)}.")


def asked(base: dict[str, Any], conversation: Conversation, template: Template, switches: bool) -> dict[str, Any]:
    """``base`` with what a conversation asks for.

    :param switches: the template can be told whether to think.
    :raises TunesmithError: the template cannot do it; names ``thinking`` or ``reasoning_effort``.
    """
    thinking, effort = conversation.thinking, conversation.effort
    if thinking is None and effort is None:
        return base
    check_effort(template, effort)
    if thinking and template.thinking is None:
        raise TunesmithError(f"thinking: the template {template.name!r} has no reasoning.", "Leave it out.")
    if thinking is False and template.thinking is not None and not switches:
        hint = "Ask for little with reasoning_effort: low." if template.effort else "Leave it out."
        raise TunesmithError(f"thinking: the template {template.name!r} cannot leave its reasoning out.", hint)
    told = {} if thinking is None else {"thinking_on": thinking, "thinking_off": not thinking}
    return {**base, **told, "effort": effort or base["effort"]}


# ---- a tokenizer's own template -----------------------------------------------------------------------------------------


def check_source(source: str, word: str, value: Any) -> None:
    """Whether a chat template asks for a variable that it is to be given.

    :raises TunesmithError: it does not, and would ignore it.
    """
    if value is not None and word not in source:
        raise TunesmithError(f"{word}: the tokenizer's own template does not ask for it.", "Leave it out, or name a template.")


def told_by(conversation: Conversation, source: str) -> dict[str, Any]:
    """The options that a conversation sets over those of the run.

    :raises TunesmithError: the template ``source`` ignores them.
    """
    check_source(source, "enable_thinking", conversation.thinking)
    check_source(source, "reasoning_effort", conversation.effort)
    told = {"enable_thinking": conversation.thinking, "effort": conversation.effort}
    return {key: value for key, value in told.items() if value is not None}


def variables(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a chat template is told of a run's options."""
    told = {"enable_thinking": options.get("enable_thinking"), "reasoning_effort": options.get("effort")}
    told["preserve_thinking"] = options.get("preserve_thinking") or None
    return {key: value for key, value in told.items() if value is not None}
