"""Answers that fit a JSON schema: tokens that would break it cannot be picked. The grammar is llguidance's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACKAGE = "llguidance"
SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Spaces as most models write them, and no more, or a model could go on with them for ever."""


class Schemas:
    """Makes a :class:`Guide` for each request that wants one; the table of the vocabulary is made for the first.

    :param size: how many scores the model gives.
    :param ends: ids that end an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, size: int, ends: Sequence[int]) -> None:
        self._tokenizer, self._size, self._ends = tokenizer, size, sorted(ends)

    def guide(self, schema: str) -> Guide:
        """What holds one answer to ``schema``.

        :raises TunesmithError: the schema is no JSON schema that can be followed, or the extra is not installed.
        """
        llguidance = _library()
        try:
            wanted = json.loads(schema)
        except ValueError as error:
            raise TunesmithError(f"schema is no JSON: {error}", "Give a JSON schema; {} is any JSON.") from error
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(wanted), defaults=dict(SPACING))
        fault = llguidance.LLMatcher.validate_grammar(grammar, self._vocabulary)
        if fault:
            raise TunesmithError(f"schema cannot be followed: {fault.strip()}", "Write it with other words of JSON Schema.")
        return Guide(llguidance.LLMatcher(self._vocabulary, grammar), self._size)

    @cached_property
    def _vocabulary(self) -> Any:
        from llguidance.hf import from_tokenizer

        if not getattr(self._tokenizer, "is_fast", False):
            raise TunesmithError("schema needs a fast tokenizer, which this model does not have.", "Leave it out.")
        return from_tokenizer(self._tokenizer, n_vocab=self._size, eos_token=self._ends)


class Guide:
    """Follows one answer."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher = matcher
        self._bits = torch.zeros((size + 31) // 32, dtype=torch.int32)
        self._size = size

    def allow(self, scores: torch.Tensor) -> torch.Tensor:
        """``scores``, of shape (vocabulary,), with those of tokens that would break the schema at minus infinity."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.data_ptr(), self._bits.numel() * self._bits.element_size())
        allowed = (self._bits.unsqueeze(1) >> torch.arange(32, dtype=torch.int32)).bitwise_and(1).flatten()[: self._size]
        return scores.masked_fill(allowed.to(scores.device) == 0, -torch.inf)

    def take(self, token: int) -> None:
        """The token that was picked."""
        self._matcher.consume_token(token)


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        hint = "pip install tunesmith-huggingface[schema]"
        raise TunesmithError(f"schema needs the package {PACKAGE}, which is not installed.", hint) from error
    return llguidance
