"""Errors that the user can mend, as a page shows them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import gradio
from tunesmith.errors import TunesmithError

T = TypeVar("T")


def told(work: Callable[..., T]) -> Callable[..., T]:
    """Show what the user can mend as the page shows errors."""

    @wraps(work)
    def guarded(*arguments: Any) -> T:
        try:
            return work(*arguments)
        except TunesmithError as error:
            raise gradio.Error(f"{error}\n{error.hint or ''}".rstrip(), duration=None) from error

    return guarded
