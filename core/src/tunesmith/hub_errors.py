"""What the Hugging Face Hub's library says when something cannot be had, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith.errors import TunesmithError


@contextmanager
def plain_words(name: str, revision: str, token_key: str) -> Iterator[None]:
    """Turn errors of huggingface_hub about the repository ``name`` at ``revision`` into the user's own.

    :param token_key: the flat key that holds the token.
    :raises TunesmithError: says what is wrong and what to do.
    """
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, HFValidationError, HTTPError, OSError) as error:
        what, hint = _explained(error, name, revision, token_key)
        raise TunesmithError(what, hint) from error


def _explained(error: Exception, name: str, revision: str, token_key: str) -> tuple[str, str]:
    from huggingface_hub import errors

    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    if isinstance(error, errors.GatedRepoError):
        return f"{name} is gated: its owners ask for consent first.", f"Accept its terms on its page, then write {token_key}."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name} has no revision {revision!r}.", "Write a branch, tag or commit that its page lists."
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{name} at {revision} lacks a file: {_first_line(error)}", "Look at its page."
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return f"The hub has no {name}, or it is private.", f"Check the name; for a private one write {token_key}."
    if status == 403:
        return f"The hub refuses {name}: the token may not read it.", f"Give a token that may: {token_key}."
    if status == 429:
        return f"The hub gives no more of {name} for now: too many requests.", f"Wait, or write {token_key}."
    if status is not None:
        return f"The hub fails to give {name}: HTTP {status}.", "Try again later; what has come already is kept."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{name} at {revision} is not in the cache, and the hub is switched off.", "Unset HF_HUB_OFFLINE once."
    if isinstance(error, errors.HFValidationError):
        return f"{name!r} is no name of the hub.", "Such a name looks like organisation/name."
    return f"{name} could not be fetched: {_first_line(error)}", "Check the network; what has come already is kept."


def _first_line(error: BaseException) -> str:
    """The innermost cause's first line, which says more than what was made of it on the way."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
