"""Pictures of one colour, and rows that ask for it: what only a model that looks can learn. Needs Pillow."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

COLOURS = {"red": (220, 20, 30), "green": (20, 180, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}
ASKED = "What colour is this?"


def picture(folder: Path, name: str, seed: str) -> str:
    """Draw a picture of nearly one colour and any size; returns the colour's name."""
    from PIL import Image

    chance = random.Random(seed)
    colour = chance.choice(list(COLOURS))
    shade = tuple(max(0, min(255, value + chance.randint(-20, 20))) for value in COLOURS[colour])
    Image.new("RGB", (chance.randint(32, 60), chance.randint(32, 60)), shade).save(folder / name)  # type: ignore[arg-type]
    return colour


def write_rows(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """A dataset of messages, with its entry."""
    (folder / f"{name}.json").write_text(json.dumps(rows))
    info = folder / "dataset_info.json"
    known = json.loads(info.read_text()) if info.is_file() else {}
    columns = {"messages": "messages", "images": "images"}
    entry = {"file_name": f"{name}.json", "formatting": "openai", "columns": columns}
    info.write_text(json.dumps({**known, name: entry}))


def row(asked: str, answer: str, *images: str) -> dict[str, Any]:
    """One exchange about some images."""
    talk = [{"role": "user", "content": "<image>" * len(images) + asked}, {"role": "assistant", "content": answer}]
    return {"messages": talk, "images": list(images)}
