"""The flat key of tensor parallelism."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class TensorParallelOptions:
    """Over how many processes each layer is split."""

    tp_size: Annotated[int, "Processes that compute a slice of every layer each, over the same rows.", Range(least=1)] = 1
