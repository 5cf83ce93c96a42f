"""How much learns, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

TABLES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")


def count_learning(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> int:
    """The size of the prompt; of networks that make it, roughly.

    :param shapes: the shape of every weight by its name on disk.
    :param value: flat key → its value.
    """
    tokens = int(value("num_virtual_tokens"))
    width = next((shape[-1] for name, shape in shapes.items() if name.endswith(TABLES)), 0)
    kind = str(value("finetuning_type")).partition("@")[0]
    if kind == "prefix":
        keys = sum(shape[0] for name, shape in shapes.items() if name.endswith(("k_proj.weight", "v_proj.weight")))
        hidden = int(value("prefix_hidden_size") or width)
        return tokens * hidden + hidden * (hidden + 1) + (hidden + 1) * keys if value("prefix_projection") else tokens * keys
    if kind == "p_tuning":
        hidden = int(value("p_tuning_hidden_size") or width)
        return tokens * width + 2 * hidden * width + hidden * hidden
    if kind == "multitask":
        return tokens * width + int(value("multitask_num_tasks")) * int(value("multitask_rank")) * (tokens + width)
    return tokens * width
