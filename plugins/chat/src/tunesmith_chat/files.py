"""Files that come into a conversation: their text into a turn, and conversations that were saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunesmith.data.conversation import Conversation
from tunesmith.data.openai_messages import BadMessage, conversation_from_openai
from tunesmith.errors import TunesmithError

#: The largest file that goes into a turn, in bytes.
LARGEST = 1 << 20


def file_text(name: str, folder: Path) -> str:
    """A file of ``folder`` or below as it goes into a prompt: its name, and its text in a code block.

    :raises TunesmithError: it lies elsewhere (links are followed), is no text, or is larger than a megabyte.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise TunesmithError(f"{name} lies outside of {folder}.", "Start the chat in the folder that holds it.")
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


def load(name: str) -> Conversation:
    """The last conversation in a file that ``/save`` wrote.

    :raises TunesmithError: it cannot be read, or holds no conversation.
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
        return conversation_from_openai(row.get("messages"), row.get("tools"))
    except ValueError as error:
        raise TunesmithError(
            f"{name} holds no conversation: {error}", 'A line is {"messages": […]}, as /save writes it.'
        ) from error
