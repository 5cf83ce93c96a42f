"""The tool syntaxes of tools.toml by name, read when one is picked."""

from __future__ import annotations

from typing import Any

from tunesmith.templates import syntax_in


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return syntax_in("tunesmith_chat_templates", name)
