"""How ``lora_target`` names layers. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tunesmith_lora.options import expression

ALL = "all"


def names(name: str, wanted: Iterable[str]) -> bool:
    """Whether one of ``wanted`` is the dotted ``name`` or its end: ``q_proj`` and ``self_attn.q_proj`` both are."""
    return any(name == one or name.endswith(f".{one}") for one in wanted)


def picks(name: str, target: Sequence[str]) -> bool:
    """Whether ``lora_target``, when it is not ``all``, means the layer ``name``."""
    wanted = expression(target)
    return names(name, target) if wanted is None else re.fullmatch(wanted, name) is not None
