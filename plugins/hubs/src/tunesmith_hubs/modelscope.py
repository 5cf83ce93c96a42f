"""Datasets and models of ModelScope, by modelscope_hub.

Its own cache names folders by branch, so that what lies there changes when the branch does. Here each version has a folder of
its own. ModelScope tells no commits either: a version is a hash over the SHA-256 of all files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError

from tunesmith_hubs.repository import Hub, Listing, Name, within


class ModelScope(Hub):
    """The hub that ``MODELSCOPE_ENDPOINT`` names, modelscope.cn by default."""

    title = "ModelScope"
    branch = "master"
    commits = False

    def __init__(self, cache: Path, token: str | None) -> None:
        self._cache, self._token = cache, token

    def _api(self) -> Any:
        from modelscope_hub import HubApi, HubConfig

        logging.getLogger("modelscope_hub").setLevel(logging.WARNING)
        return HubApi(HubConfig(token=self._token))

    def listing(self, name: Name) -> Listing:
        """As the hub lists it."""
        with _plain_words(name):
            files = self._api().list_repo_files(name.name, name.kind, revision=name.revision)
        found = {one.path: f"{one.sha256 or one.blob_id or ''}:{one.size}" for one in files if not one.is_dir}
        return Listing.of_contents(found)

    def place(self, name: Name, version: str, path: str) -> Path:
        """In the folder of the version."""
        return within(self._folder(name, version), path)

    def _folder(self, name: Name, version: str) -> Path:
        return self._cache / "modelscope" / f"{name.kind}s--{name.name.replace('/', '--')}" / version

    def fetch(self, name: Name, listing: Listing, path: str) -> None:
        """To its place, checked against the hub's SHA-256."""
        digest, _, size = listing.files[path].rpartition(":")
        self.place(name, listing.version, path)
        with _plain_words(name):
            self._api().download_file(
                name.name,
                name.kind,
                path,
                revision=name.revision,
                local_dir=self._folder(name, listing.version),
                expected_sha256=digest if len(digest) == 64 else None,
                file_size=int(size),
            )


@contextmanager
def _plain_words(name: Name) -> Iterator[None]:
    from modelscope_hub import errors

    try:
        yield
    except errors.NotExistError as error:
        what = f"ModelScope has no {name}, or it is private."
        raise TunesmithError(what, f"Check name and revision; for a private one write {name.token_key}.") from error
    except (errors.AuthenticationError, errors.PermissionDeniedError) as error:
        hint = f"Write {name.token_key}: a token that may; a gated one asks for consent on its page first."
        raise TunesmithError(f"ModelScope refuses {name.name} to you.", hint) from error
    except errors.FileIntegrityError as error:
        what = f"A file of {name} is not what ModelScope lists any more: {error}."
        raise TunesmithError(what, "The branch moved meanwhile; run again.") from error
    except (errors.HubError, OSError) as error:
        what = (
            f"{name} could not be fetched from ModelScope: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        )
        raise TunesmithError(what, "Check the network; what has come already is kept.") from error
