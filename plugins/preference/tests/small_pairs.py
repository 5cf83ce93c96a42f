"""Pairs of answers to shared prompts, for the tests of this package."""

from __future__ import annotations

from typing import Any

import numpy as np
from tunesmith.data.conversation import Tokens

WORDS = 300


def pairs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Prompts of 3 to 6 tokens, answers of 2 to 9."""
    generator = np.random.default_rng(seed)
    return [_pair(generator) for _ in range(count)]


def _pair(generator: np.random.Generator) -> dict[str, Any]:
    prompt = generator.integers(5, WORDS, generator.integers(3, 7))
    return {name: answered(prompt, generator.integers(5, WORDS, generator.integers(2, 10))) for name in ("chosen", "rejected")}


def answered(prompt: Any, answer: Any) -> Tokens:
    """A prompt that is seen and an answer that is learned."""
    weights = np.concatenate([np.zeros(len(prompt)), np.ones(len(answer))]).astype(np.float32)
    return Tokens(np.concatenate([prompt, answer]).astype(np.int32), weights)
