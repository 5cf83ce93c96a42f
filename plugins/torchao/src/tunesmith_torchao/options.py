"""The flat keys of the quantizer ``torchao`` and of the accelerator ``float8``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class TorchaoOptions:
    """How numbers are laid out, and whether training sees it."""

    torchao_format: Annotated[Literal["int", "float"], "8-bit weights as whole numbers, or as floating point (fp8 e4m3)."] = (
        "int"
    )
    torchao_group_size: Annotated[int, "4 bits: how many weights of a row share a scale.", Range(least=32, most=256)] = 128
    quantization_aware: Annotated[
        bool,
        "Keep weights plain while training and compute with what they will be once quantised (QAT); "
        "what is saved is plain, to be quantised when it is loaded.",
    ] = False


@dataclass(frozen=True)
class Float8Options:
    """Training in 8-bit floating point."""

    fp8: Annotated[bool, "Multiply in 8-bit floating point while the model learns; weights keep their format."] = False
    fp8_backend: Annotated[
        Literal["auto", "torchao", "te", "msamp"], "Library that does it: torchao, whichever is left open."
    ] = "auto"
