"""A merged model written as one GGUF file, read back, and put beside what Ollama and people need."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH_NAMES, GGUFReader, GGUFWriter
from gguf.quants import quant_shape_to_byte_shape
from transformers import AutoConfig
from tunesmith import TunesmithError
from tunesmith.contracts import Exporter
from tunesmith.plan import Plan

from tunesmith_gguf.header import write_header
from tunesmith_gguf.kinds import KINDS, TOOL, TOOL_TYPES
from tunesmith_gguf.options import GgufOptions
from tunesmith_gguf.tensors import Tensors


class GgufExporter(Exporter):
    """Writes a folder of safetensors as ``model-TYPE.gguf`` (github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

    def __init__(self, plan: Plan) -> None:
        self._options = plan.options(GgufOptions)

    def export(self, plan: Plan, directory: Path) -> Mapping[str, Any]:
        """Write the file and a Modelfile that points at it.

        :return: the file's size, and by how much at most a tensor read from it differs from the model's.
        :raises TunesmithError: the model cannot be written in this format, or does not come back as it was written.
        """
        whole = Path(str(plan.models["policy"].path))
        wanted = self._options.gguf_type.lower()
        written = "f16" if wanted in TOOL_TYPES else wanted
        config = AutoConfig.from_pretrained(whole)
        tensors = Tensors(whole, config, KINDS[config.model_type], written)
        file = directory / f"model-{written}.gguf"
        self._write(file, whole, config, tensors, _name(plan))
        off = _read_back(file, tensors)
        if wanted in TOOL_TYPES:
            file = _by_tool(file, wanted)
        _modelfile(whole, directory, file)
        facts = {"format": "gguf", "dtype": wanted, "files": {file.name: file.stat().st_size}, "largest_difference": off}
        checked = f"Tensors of {written} in the file differ from the model's by {off:.1g} of their size at most."
        return {**facts, "library": "gguf", "use": f"With llama.cpp: `llama-cli -m {file.name}`.", "checked": checked}

    def _write(self, file: Path, whole: Path, config: Any, tensors: Tensors, name: str) -> None:
        """Header first, then one tensor after the other."""
        writer = GGUFWriter(file, MODEL_ARCH_NAMES[tensors.arch])
        writer.add_name(name)
        write_header(writer, whole, config, tensors.wanted, self._options.gguf_pre_tokenizer)
        for entry in tensors.entries:
            size = prod(quant_shape_to_byte_shape(entry.shape, entry.kind))
            writer.add_tensor_info(entry.name, entry.shape, np.dtype(np.float32), size, raw_dtype=entry.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for entry in tensors.entries:
            writer.write_tensor_data(tensors.rounded(entry))
        writer.close()


def _name(plan: Plan) -> str:
    """What the model is called: as the folder that the user exports to."""
    folder = plan.settings["export_dir"].value if "export_dir" in plan.settings else None
    return Path(folder or str(plan.models["policy"].path)).resolve().name


def _read_back(file: Path, tensors: Tensors) -> float:
    """Hold every tensor of the file against the model's; the largest difference, as a share of a tensor's size.

    :raises TunesmithError: one differs by more than its format rounds.
    """
    held = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    found = {entry.name: tensors.off(entry, held[entry.name].data) for entry in tensors.entries}
    for entry in tensors.entries:
        if not found[entry.name] <= tensors.most_off(entry):
            what = f"Read back, {entry.name} differs from the model's by {found[entry.name]:.2g} of its size."
            raise TunesmithError(what, "Write gguf_type: f32.")
    return max(found.values())


def _by_tool(file: Path, wanted: str) -> Path:
    """The file in a format of llama.cpp's own tool, in place of the one it is made from."""
    made = file.with_name(f"model-{wanted}.gguf")
    done = subprocess.run([str(shutil.which(TOOL)), str(file), str(made), wanted.upper()], capture_output=True, text=True)
    if done.returncode or not made.is_file():
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"it ended with status {done.returncode}"]
        raise TunesmithError(f"{TOOL} failed: {last[0]}", f"Write gguf_type: q8_0, or run {TOOL} by hand.")
    file.unlink()
    return made


def _modelfile(whole: Path, directory: Path, file: Path) -> None:
    """The merged model's Modelfile, where there is one, pointing at the GGUF file."""
    if (whole / "Modelfile").is_file():
        text = (whole / "Modelfile").read_text(encoding="utf-8")
        (directory / "Modelfile").write_text(text.replace("FROM .\n", f"FROM ./{file.name}\n"), encoding="utf-8")
