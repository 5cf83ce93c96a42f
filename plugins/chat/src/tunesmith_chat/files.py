"""Files that come into a conversation: texts and images into a turn, and conversations that were saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Conversation, Media, Part, Text, Turn
from tunesmith.data.openai_messages import BadMessage, conversation_from_openai
from tunesmith.errors import TunesmithError

#: The largest file that goes into a turn, in bytes.
LARGEST = 1 << 20


def file_text(name: str, folder: Path) -> str:
    """A file of ``folder`` or below as it goes into a prompt: its name, and its text in a code block.

    :raises TunesmithError: it lies elsewhere (links are followed), is no text, or is larger than a megabyte.
    """
    path = inside(name, folder)
    try:
        if path.stat().st_size > LARGEST:
            raise TunesmithError(f"{name} is larger than {LARGEST >> 20} MiB.", "Give a part of it.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TunesmithError(f"{name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise TunesmithError(f"{name} holds no text.", "Only text in UTF-8 goes into a prompt.") from error
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{path.relative_to(folder.resolve())}:\n{fence}{path.suffix.lstrip('.')}\n{text.rstrip()}\n{fence}"


def inside(name: str, folder: Path) -> Path:
    """A file of ``folder`` or below.

    :raises TunesmithError: it lies elsewhere; links are followed.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise TunesmithError(f"{name} lies outside of {folder}.", "Start the chat in the folder that holds it.")
    return path


def read_image(file: Path) -> Media:
    """An image with its bytes, so that the conversation goes on when the file is gone.

    :raises TunesmithError: it cannot be read.
    """
    return with_bytes(Media("image", str(file.absolute())))


def check_seen(renderer: Renderer, image: Media) -> None:
    """See that a model can be shown an image.

    :raises TunesmithError: it is none, or model or template know no images.
    """
    if renderer.media is None:
        hint = "One that sees comes with the files of its processor, and wants tunesmith-multimodal."
        raise TunesmithError(f"{image.path} is for a model that sees, and this one reads text only.", hint)
    renderer.render(Conversation((Turn("user", (image, Text("?"))),)), generation_prompt=True)


def with_bytes(media: Media) -> Media:
    """The same with what is in its file.

    :raises TunesmithError: it cannot be read.
    """
    try:
        return replace(media, data=Path(media.path).read_bytes())
    except OSError as error:
        raise TunesmithError(f"{media.path} cannot be read: {error.strerror}.") from error


def load(name: str) -> Conversation:
    """The last conversation in a file that ``/save`` wrote, with the images that it names.

    :raises TunesmithError: it cannot be read, or holds no conversation; an image is not there any more.
    """
    try:
        lines = [line for line in Path(name).read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise TunesmithError(f"{name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise TunesmithError(f"{name} holds no text.") from error
    if not lines:
        raise TunesmithError(f"{name} is empty.")
    try:
        row: Any = json.loads(lines[-1])
        if not isinstance(row, dict):
            raise BadMessage("its last line is no object")
        read = conversation_from_openai(row.get("messages"), row.get("tools"))
    except ValueError as error:
        raise TunesmithError(
            f"{name} holds no conversation: {error}", 'A line is {"messages": […]}, as /save writes it.'
        ) from error
    return replace(read, turns=tuple(replace(turn, parts=tuple(map(_loaded, turn.parts))) for turn in read.turns))


def _loaded(part: Part) -> Part:
    return with_bytes(part) if isinstance(part, Media) else part
