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
    export_quantization_bit: Annotated[
        int | None, "Write the model in this many bits, with the quantizer of quantization_method."
    ] = None
    export_quantization_dataset: Annotated[
        tuple[str, ...], "Data to calibrate on, for quantizers that look at some; names as in dataset."
    ] = ()
    export_quantization_maxlen: Annotated[int, "Tokens of each row to calibrate on.", Range(least=1)] = 1024
    export_quantization_nsamples: Annotated[int, "Rows to calibrate on.", Range(least=1)] = 128
    export_hub_model_id: Annotated[str | None, "Repository of the Hugging Face Hub to upload the export to."] = None
    export_hub_revision: Annotated[str | None, "Branch of that repository, made where there is none; main if not given."] = None
    export_hub_private: Annotated[bool | None, "Make that repository a private one, where it is new."] = None
    export_verify: Annotated[bool, "Compare logits and greedy tokens before and after merging and writing."] = True
