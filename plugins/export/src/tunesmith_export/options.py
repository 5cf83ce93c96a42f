"""The configuration keys of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class ExportOptions:
    """Where the export goes, in which form, and how it is checked."""

    export_dir: Annotated[str | None, "Folder to write; new or empty."] = None
    export_size: Annotated[int, "Largest size of one file of weights, in GB.", Range(least=1)] = 5
    export_device: Annotated[
        Literal["cpu", "auto"], "Where weights are merged: in main memory, or on the device of the backend."
    ] = "cpu"
    export_format: Annotated[str, "Form in which the model is written."] = "safetensors"
    export_verify: Annotated[bool, "Compare logits and greedy tokens before and after merging and writing."] = True
