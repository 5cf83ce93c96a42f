"""Datasets and models of Modelers, the hub of openMind, by openmind_hub and in its cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError

from tunesmith_hubs.repository import Hub, Listing, Name, within


class Modelers(Hub):
    """The hub that ``OPENMIND_HUB_ENDPOINT`` names, modelers.cn by default."""

    title = "Modelers"

    def __init__(self, cache: Path | None, token: str | None) -> None:
        self._cache, self._token = cache, token

    def listing(self, name: Name) -> Listing:
        """As the hub lists it, with the commit."""
        import openmind_hub

        asked: dict[str, Any] = {"repo_id": name.name, "revision": name.revision, "token": self._token}
        with _plain_words(name):
            api = openmind_hub.OmApi()
            commit = api.get_repo_last_commit(**asked).oid
            files = api.list_repo_files(**asked)
        return Listing(str(commit), dict.fromkeys(files, ""))

    def place(self, name: Name, version: str, path: str) -> Path:
        """In the snapshot of the commit."""
        from openmind_hub import OM_HUB_CACHE

        folder = f"{name.kind}s--{name.name.replace('/', '--')}"
        return within((self._cache or Path(OM_HUB_CACHE)) / folder / "snapshots" / version, path)

    def fetch(self, name: Name, listing: Listing, path: str) -> None:
        """Into the cache of openmind_hub."""
        import openmind_hub

        with _plain_words(name):
            openmind_hub.om_hub_download(
                name.name,
                path,
                repo_type=name.kind,
                revision=listing.version,
                cache_dir=str(self._cache) if self._cache else None,
                token=self._token,
            )


@contextmanager
def _plain_words(name: Name) -> Iterator[None]:
    import requests

    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else None
        raise TunesmithError(*_refused(name, status)) from error
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise TunesmithError(
            f"{name} could not be fetched from Modelers: {first}", "Check the name and the network."
        ) from error


def _refused(name: Name, status: int | None) -> tuple[str, str]:
    if status in (401, 403):
        return f"Modelers refuses {name.name} to you.", f"Write {name.token_key}: a token that may read it."
    if status == 404:
        return (
            f"Modelers has no {name}, or it is private.",
            f"Check name and revision; for a private one write {name.token_key}.",
        )
    return f"Modelers fails to give {name}: HTTP {status}.", "Try again later; what has come already is kept."
