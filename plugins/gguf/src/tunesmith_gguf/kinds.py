"""The kinds of models that can be written, and the number formats, as data. No torch, no gguf.

What each kind does to its weights is what llama.cpp's own ``convert_hf_to_gguf.py`` does, since that is what its code expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """``arch``: the name in gguf's ``MODEL_ARCH``.

    :param turned: rows of queries and keys lie in pairs, as rotary positions were first published, and not in halves.
    :param shifted_norms: norms multiply by ``1 + weight`` in transformers; the file has the sum.
    """

    arch: str
    turned: bool = False
    shifted_norms: bool = False


#: ``model_type`` of a configuration → its kind.
KINDS: Mapping[str, Kind] = {
    "llama": Kind("LLAMA", turned=True),
    "mistral": Kind("LLAMA", turned=True),
    "qwen2": Kind("QWEN2"),
    "qwen3": Kind("QWEN3"),
    "gemma": Kind("GEMMA", shifted_norms=True),
    "gemma2": Kind("GEMMA2", shifted_norms=True),
    "gemma3_text": Kind("GEMMA3", shifted_norms=True),
}
#: Formats that the gguf package itself writes, and how far a matrix may be off, as a share of its size.
TYPES: Mapping[str, float] = {"f32": 0.0, "f16": 1e-3, "bf16": 4e-3, "q8_0": 1e-2}
#: Formats that llama.cpp's own tool makes of a file in f16.
TOOL_TYPES = (
    *("q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q2_k_s", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m"),
    *("q6_k", "iq4_nl", "iq4_xs", "iq3_xxs", "iq3_s", "iq3_m", "tq1_0", "tq2_0"),
)
TOOL = "llama-quantize"
#: Ways to stretch positions that the file can say.
STRETCHES = ("default", "linear", "yarn", "llama3")

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
#: The expression by which a byte-level tokenizer splits texts → llama.cpp's name for it.
PRE_TOKENIZERS: Mapping[str, str] = {
    rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}": "llama-bpe",
    rf"{_WORDS}|\p{{N}}|{_REST}": "qwen2",
    "": "gpt-2",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}


def stretch_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the positions of a model are stretched, by its plain configuration."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    found = found.get("full_attention", found)
    kind = found.get("rope_type", found.get("type", "default"))
    return {"rope_theta": config.get("rope_theta", 10000.0), **found, "rope_type": kind}
