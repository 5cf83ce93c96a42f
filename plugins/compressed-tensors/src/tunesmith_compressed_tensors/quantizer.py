"""Models in the formats of compressed-tensors, read by transformers with that library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tunesmith.runtime.packing import AlreadyPacked

from tunesmith_compressed_tensors.stack import run_in_stack


class CompressedTensorsQuantizer(AlreadyPacked):
    """The formats that llm-compressor writes. To be trained or merged they are loaded into plain weights."""

    def is_packed(self, module: torch.nn.Module) -> bool:
        """The library leaves torch's layers in place and gives those that it quantises a scheme."""
        return getattr(module, "quantization_scheme", None) is not None

    def write(self, method: str, whole: Path, directory: Path, rows: Sequence[Sequence[int]]) -> None:
        """Let llm-compressor quantise, in the stack that it lives in."""
        bits, size = self.plan["export_quantization_bit"], self.plan["export_size"]
        job = {"method": method, "bits": bits, "model": str(whole), "out": str(directory), "size": f"{size}GB", "rows": rows}
        run_in_stack(job)
