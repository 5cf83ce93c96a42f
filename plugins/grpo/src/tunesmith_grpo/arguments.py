"""trl's arguments with transformers' defaults, and with this run's own keys in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any

from transformers import Seq2SeqTrainingArguments
from tunesmith.plan import Plan

#: The host's keys → trl's.
SAMPLING = {
    "max_new_tokens": "max_completion_length",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
}


def arguments_class(kind: type, own: Mapping[str, Any]) -> type:
    """A subclass of ``kind`` whose defaults are transformers' where it knows a key, and ``own`` otherwise.

    trl has defaults of its own (bfloat16, a learning rate, recomputed activations), which the plan would not show.
    """
    made: list[Any] = []
    for item in fields(Seq2SeqTrainingArguments):
        if item.init and (item.default is not MISSING or item.default_factory is not MISSING) and item.name not in own:
            made.append((item.name, item.type, _field(item)))
    known = {item.name: item.type for item in fields(kind)}
    made += [(name, known[name], field(default=value)) for name, value in own.items()]
    found: type = make_dataclass(kind.__name__, made, bases=(kind,))
    return found


def _field(item: Any) -> Any:
    if item.default is not MISSING:
        return field(default=item.default, metadata=item.metadata)
    return field(default_factory=item.default_factory, metadata=item.metadata)


def sampling(plan: Plan) -> dict[str, Any]:
    """The plan's sampling as trl's arguments."""
    return {theirs: plan[ours] for ours, theirs in SAMPLING.items()}
