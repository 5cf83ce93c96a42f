"""The configuration keys of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class GgufOptions:
    """The number format of a GGUF file, and how llama.cpp is to split texts."""

    gguf_type: Annotated[str, "Number format of the matrices: f32, f16, bf16, q8_0, or another one of llama-quantize."] = "f16"
    gguf_pre_tokenizer: Annotated[
        str | None, "llama.cpp's name of the way the tokenizer splits texts; found by its expression where none is given."
    ] = None
