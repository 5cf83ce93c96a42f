"""Errors of a device, turned into what its user can do about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith.contracts import Backend
from tunesmith.errors import TunesmithError


@contextmanager
def advised(backend: Backend) -> Iterator[None]:
    """Within it, an error that the backend knows becomes one with its advice; any other passes."""
    try:
        yield
    except TunesmithError:
        raise
    except Exception as error:
        if advice := backend.advice(error):
            raise TunesmithError(f"{type(error).__name__}: {error}", advice) from error
        raise
