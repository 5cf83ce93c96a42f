"""The folder that ``tunesmith experts convert`` writes: kt-kernel's files for each layer, and a note of what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NOTE = "experts.json"
#: ``INT8_gate_17_131072Byte_quant_.kt``: bits, matrix, expert, size in bytes.
FILE = re.compile(r"INT(?P<bits>[48])_(?P<part>gate|up|down)_(?P<expert>\d+)_(?P<size>\d+)Byte_(?P<what>quant|scale)_\.kt")


@dataclass(frozen=True)
class ConvertedFacts:
    """What a folder of converted experts holds."""

    bits: int
    pools: int
    layers: int
    count: int
    hidden: int
    width: int
    model_type: str = ""

    def write(self, folder: Path) -> None:
        """Write the note, last of all: without it the folder is unfinished."""
        (folder / NOTE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def facts_in(folder: str | Path) -> ConvertedFacts | None:
    """The note in a folder; made up from the files where kt-kernel's own tools wrote them; ``None`` where there is nothing."""
    folder = Path(folder).expanduser()
    if (folder / NOTE).is_file():
        plain: Mapping[str, Any] = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return ConvertedFacts(**plain)
    layers = sorted(folder.glob("_layer_*"))
    if not layers:
        return None
    parts = [FILE.fullmatch(file.name) for file in (layers[0] / "_numa_0").glob("*.kt")]
    found = [part for part in parts if part]
    if not found:
        return None
    bits, pools = int(found[0]["bits"]), len(list(layers[0].glob("_numa_*")))
    rows = {part["part"]: int(part["size"]) // 4 for part in found if part["what"] == "scale"}
    width, hidden = rows.get("gate", 0) * pools, rows.get("down", 0)
    return ConvertedFacts(bits, pools, len(layers), 1 + max(int(part["expert"]) for part in found), hidden, width)


def bits_in(folder: str | Path) -> int | None:
    """The bits of the experts in a folder."""
    facts = facts_in(folder)
    return facts.bits if facts else None


def folder_fault(folder: str | Path) -> tuple[str, str] | None:
    """What is wrong with a folder of converted experts by itself."""
    if not Path(folder).expanduser().is_dir():
        return f"kt_weight_path: there is no folder {folder}", "Make it: tunesmith experts convert"
    if facts_in(folder) is None:
        return f"kt_weight_path: {folder} holds no converted experts", "Make them: tunesmith experts convert"
    return None


def missing_files(folder: str | Path, facts: ConvertedFacts) -> list[str]:
    """Files that should be there by the note, or have another size: the kernel would read beyond their ends."""
    folder = Path(folder).expanduser()
    wrong = []
    numbers = facts.hidden * facts.width // facts.pools
    for layer in range(facts.layers):
        for pool in range(facts.pools):
            place = folder / f"_layer_{layer}" / f"_numa_{pool}"
            for part in ("gate", "up", "down"):
                rows = facts.hidden if part == "down" else facts.width // facts.pools
                sizes = {"quant": numbers * facts.bits // 8, "scale": 4 * rows}
                for what, size in sizes.items():
                    names = (f"INT{facts.bits}_{part}_{expert}_{size}Byte_{what}_.kt" for expert in range(facts.count))
                    wrong += [str(place / name) for name in names if _size(place / name) != size]
    return wrong


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1
