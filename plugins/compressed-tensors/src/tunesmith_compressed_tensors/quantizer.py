"""Models in the formats of compressed-tensors, read by transformers with that library."""

from __future__ import annotations

import torch
from tunesmith.runtime.packing import AlreadyPacked


class CompressedTensorsQuantizer(AlreadyPacked):
    """The formats that llm-compressor writes. To be trained or merged they are loaded into plain weights."""

    def is_packed(self, module: torch.nn.Module) -> bool:
        """The library leaves torch's layers in place and gives those that it quantises a scheme."""
        return getattr(module, "quantization_scheme", None) is not None
