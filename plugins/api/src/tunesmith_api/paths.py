"""Paths as routes know them, and whose API they belong to."""

from __future__ import annotations

from starlette.types import Scope

#: Where Anthropic's API begins; all else is OpenAI's.
ANTHROPIC = "/v1/messages"


def path_of(scope: Scope) -> str:
    """The path of a request without the prefix of a proxy."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def is_anthropic(scope: Scope) -> bool:
    """Whether a request is one of Anthropic's API, so that errors have its shape."""
    path = path_of(scope)
    return path == ANTHROPIC or path.startswith(f"{ANTHROPIC}/")
