"""The experts of a model folder, one layer at a time, in bfloat16: fused or apart, plain or FP8 with a scale a block."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import safe_open
from tunesmith import TunesmithError
from tunesmith.model_folder import read_json

#: What the three matrices of an expert are called: gate, up, down.
NAMES = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"))
SCALES = ("weight_scale_inv", "weight_scale")
LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\..*?\.?experts(?:\.|$)")


class ExpertFiles:
    """Reads safetensors files without reading anything but what is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser()
        self.config = read_json(self.folder, "config.json")
        self.places: dict[str, Path] = {}
        for file in sorted(self.folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as stream:
                self.places |= dict.fromkeys(stream.keys(), file)
        if not self.layers():
            raise TunesmithError(f"{folder} holds no experts in safetensors files.", "Give the folder of a mixture of experts.")

    def layers(self) -> list[int]:
        """The numbers of the layers with experts."""
        return sorted({int(match[1]) for name in self.places if ".shared_" not in name and (match := LAYER.search(name))})

    def experts(self, module: str | int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gate and up (experts, width, hidden), and down (experts, hidden, width), of a layer by number or module name.

        :raises TunesmithError: the layer has none, or one is missing.
        """
        if isinstance(module, str):
            match = LAYER.search(f"{module}.")
            module = int(match[1]) if match else -1
        stem = self._stem(module)
        if f"{stem}.gate_up_proj" in self.places:
            gate, up = self._read(f"{stem}.gate_up_proj").chunk(2, dim=1)
            return gate, up, self._read(f"{stem}.down_proj")
        names = next((names for names in NAMES if f"{stem}.0.{names[0]}.weight" in self.places), None)
        if names is None:
            raise TunesmithError(f"The experts under {stem} in {self.folder} have names that nobody here knows.")
        count = len([name for name in self.places if re.fullmatch(rf"{re.escape(stem)}\.\d+\.{names[0]}\.weight", name)])
        gate, up, down = (
            torch.stack([self._read(f"{stem}.{expert}.{part}.weight") for expert in range(count)]) for part in names
        )
        return gate, up, down

    def _stem(self, layer: int) -> str:
        for name in self.places:
            match = LAYER.search(name)
            if match and int(match[1]) == layer and ".shared_" not in name:
                return name[: name.index("experts", match.start())] + "experts"
        raise TunesmithError(f"Layer {layer} in {self.folder} has no experts.", f"These have: {self.layers()}")

    def _read(self, name: str) -> torch.Tensor:
        if name not in self.places:
            raise TunesmithError(f"{name} is missing in {self.folder}.", "Get a complete copy of the model.")
        weight = self._tensor(name)
        if weight.element_size() > 1:
            return weight.to(torch.bfloat16)
        scale = next((found for word in SCALES if (found := name.replace("weight", word)) in self.places), None)
        if scale is None:
            raise TunesmithError(f"{name} in {self.folder} is {weight.dtype} without a scale.", "Only FP8 with scales is read.")
        return scaled(weight, self._tensor(scale), self._block())

    def _tensor(self, name: str) -> torch.Tensor:
        with safe_open(self.places[name], framework="pt") as stream:
            found: torch.Tensor = stream.get_tensor(name)
        return found

    def _block(self) -> tuple[int, int]:
        size = self.config.get("quantization_config", {}).get("weight_block_size") or (128, 128)
        return int(size[0]), int(size[1])


def scaled(weight: torch.Tensor, scale: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """FP8 numbers (out, in) times the scale of their block (⌈out / rows⌉, ⌈in / columns⌉), in bfloat16.

    DeepSeek-AI 2024, arXiv:2412.19437, §3.3.
    """
    rows, columns = weight.shape
    wide = scale.float().repeat_interleave(block[0], 0)[:rows].repeat_interleave(block[1], 1)[:, :columns]
    return (weight.float() * wide).to(torch.bfloat16)
