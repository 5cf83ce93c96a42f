"""How much learns, for the plan's estimate. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

TABLES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")


def count_learning(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> int:
    """The size of all small networks.

    :param shapes: the shape of every weight by its name on disk.
    :param value: flat key → its value.
    """
    width = next((shape[-1] for name, shape in shapes.items() if name.endswith(TABLES)), 0)
    layers = {int(found[1]) for name in shapes if (found := re.search(r"\.(\d+)\.", name))}
    size = int(value("bottleneck_size") or max(1, width // int(value("bottleneck_reduction"))))
    biases = 0 if value("bottleneck_activation") == "identity" else size + width
    places = 2 if value("bottleneck_type") == "houlsby" else 1
    return len(layers) * places * (2 * width * size + biases)
