"""Block expansion (LLaMA Pro, Wu et al. 2024, arXiv:2401.02415, §3.2): copies of layers that change nothing until they learn.

A copy follows every group of layers. The two matrices by which it adds to the residual stream are zero, so that the expanded
model answers exactly as the one it was made of. Weights go from file to file; no model is built.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tunesmith import TunesmithError

from tunesmith_full.selection import find_layers

INDEX = "model.safetensors.index.json"
#: What the last matrices of a layer's parts are called: what they answer is added to the residual stream.
ENDS = re.compile(r"\b(o_proj|out_proj|down_proj|c_proj|dense|dense_4h_to_h|fc2|wo|w2)(_bias|_blocks)?(\.|$)")


@dataclass(frozen=True)
class Layout:
    """Where each old layer goes, and which new layers are copies.

    :param order: for each new layer, the old one that it holds, and whether it is a copy.
    """

    order: tuple[tuple[int, bool], ...]

    @classmethod
    def of(cls, layers: int, blocks: int) -> Layout:
        """After every group of ``layers / blocks`` a copy of its last layer.

        :raises TunesmithError: the groups would not be equal.
        """
        if blocks < 1 or layers % blocks:
            whole = ", ".join(str(number) for number in range(1, layers + 1) if layers % number == 0)
            raise TunesmithError(f"{layers} layers cannot be split into {blocks} equal groups.", f"Write one of {whole}.")
        group = layers // blocks
        order: list[tuple[int, bool]] = []
        for number in range(layers):
            order.append((number, False))
            if (number + 1) % group == 0:
                order.append((number, True))
        return cls(tuple(order))

    def places(self, layer: int) -> Iterator[tuple[int, bool]]:
        """The new numbers of an old layer."""
        return ((new, copy) for new, (old, copy) in enumerate(self.order) if old == layer)


def expand(source: Path, target: Path, blocks: int, say: Callable[[str], None] = lambda line: None) -> Layout:
    """Write the model in ``source`` with ``blocks`` more layers into ``target``.

    :param say: told what is being written.
    :raises TunesmithError: a folder is not what it should be, or the layers cannot be expanded.
    """
    files = sorted(source.glob("*.safetensors")) if source.is_dir() else []
    if not files or not (source / "config.json").is_file():
        raise TunesmithError(f"{source} holds no model in safetensors.", "Give the folder of a downloaded model.")
    if target.exists() and any(target.iterdir()):
        raise TunesmithError(f"{target} is not empty.", "Give a new folder.")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    count = _text(config).get("num_hidden_layers")
    layout, names = Layout.of(int(count or 0), blocks) if count else None, _names(files)
    prefix = find_layers(names)
    if layout is None or not prefix:
        raise TunesmithError(f"{source / 'config.json'} says nothing of num_hidden_layers.", "Only decoders can be expanded.")
    _check_ends([name for name in names if name.startswith(f"{prefix}.0.")], source)
    target.mkdir(parents=True, exist_ok=True)
    where: dict[str, str] = {}
    for file in files:
        say(f"writing {target / file.name}")
        where |= _write(file, target / file.name, prefix, layout)
    _finish(source, target, config, layout, where)
    return layout


def _text(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config.get("text_config") or config
    return found


def _names(files: list[Path]) -> list[str]:
    found: list[str] = []
    for file in files:
        with safe_open(file, framework="pt") as held:
            found += held.keys()
    return found


def _check_ends(names: list[str], source: Path) -> None:
    """A layer without two parts that end in a known matrix would not be silent when it is copied."""
    if sum(ENDS.search(name) is not None for name in names) < 2:
        held = ", ".join(sorted({name.split(".")[-2] for name in names if "." in name}))
        what = f"The layers of {source} end in no matrices that are known; they hold {held}."
        raise TunesmithError(what, "Models whose layers are built otherwise cannot be expanded.")


def _write(file: Path, target: Path, prefix: str, layout: Layout) -> dict[str, str]:
    weights: dict[str, torch.Tensor] = {}
    with safe_open(file, framework="pt") as held:
        for name in held.keys():  # noqa: SIM118  # no mapping
            for new, silent in _renamed(name, prefix, layout):
                tensor = held.get_tensor(name)
                weights[new] = torch.zeros_like(tensor) if silent else tensor.clone()  # no two names of one tensor in a file
    save_file(weights, target, {"format": "pt"})
    return dict.fromkeys(weights, target.name)


def _renamed(name: str, prefix: str, layout: Layout) -> Iterator[tuple[str, bool]]:
    """The new names of a weight, and whether it is zero there."""
    found = re.match(rf"{re.escape(prefix)}\.(\d+)\.", name)
    if not found:
        yield name, False
        return
    rest = name[found.end() :]
    for number, copy in layout.places(int(found[1])):
        yield f"{prefix}.{number}.{rest}", copy and ENDS.search(rest) is not None


def _finish(source: Path, target: Path, config: dict[str, Any], layout: Layout, where: Mapping[str, str]) -> None:
    text, old = _text(config), len({number for number, _ in layout.order})
    for key, value in text.items():
        if isinstance(value, list) and len(value) == old:  # a word for each layer, such as layer_types
            text[key] = [value[number] for number, _ in layout.order]
    text["num_hidden_layers"] = len(layout.order)
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for file in source.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and file.name not in ("config.json", INDEX):
            shutil.copy2(file, target / file.name)
    if len(set(where.values())) > 1 or (source / INDEX).is_file():
        size = sum((target / name).stat().st_size for name in set(where.values()))
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
        (target / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
