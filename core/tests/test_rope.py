"""Stretched positions: what they come to, and when there is nothing to stretch."""

from __future__ import annotations

from typing import Any

import pytest
from tunesmith.errors import TunesmithError
from tunesmith.rope import stretch

MODEL = {"max_position_embeddings": 2048, "rope_theta": 10000.0}


@pytest.mark.parametrize(
    ("kind", "longest", "further"),
    [
        ("linear", 6144, {}),
        ("dynamic", 2048, {}),
        ("yarn", 6144, {"original_max_position_embeddings": 2048}),
        ("llama3", 6144, {"original_max_position_embeddings": 2048, "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
    ],
)
def test_a_whole_factor_reaches_the_length(kind: str, longest: int, further: dict[str, Any]) -> None:
    found = stretch(MODEL, kind, 4097)
    assert (found.factor, found.longest) == (3.0, longest)
    assert found.parameters == {"rope_theta": 10000.0, "rope_type": kind, "factor": 3.0, **further}


@pytest.mark.parametrize(
    ("config", "length", "words"),
    [
        (MODEL, 2048, "has nothing to stretch: cutoff_len is 2048, and the model reads 2048 tokens"),
        ({**MODEL, "rope_scaling": {"type": "llama3", "factor": 8.0}}, 4096, "stretched already (llama3)"),
        ({"max_position_embeddings": 1024}, 4096, "has no rotary positions"),
        ({**MODEL, "rope_parameters": {"full_attention": {"rope_type": "default"}}}, 4096, "for each kind of layer"),
    ],
)
def test_what_cannot_be_stretched_says_why(config: dict[str, Any], length: int, words: str) -> None:
    with pytest.raises(TunesmithError) as caught:
        stretch(config, "yarn", length)
    assert words in caught.value.message
    assert caught.value.hint
