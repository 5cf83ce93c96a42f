"""Files and folders of object stores, by fsspec: each scheme by its own package (s3fs, gcsfs, adlfs, ossfs).

Endpoints, credentials and anonymous access are those of that package's own settings, or fsspec's (``FSSPEC_S3_ANON=true``,
``FSSPEC_S3_ENDPOINT_URL=…``). A store has no commits: a version is a hash over the names of all files and what the store says
identifies each one's content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from tunesmith.data.cache import locked
from tunesmith.errors import TunesmithError

from tunesmith_hubs.plugin import STORES
from tunesmith_hubs.repository import Hub, Listing, Name, within

#: What identifies a file's content, by the names that stores use, best first.
IDENTITY = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "crc32c",
    "generation",
    "LastModified",
    "last_modified",
    "updated",
    "mtime",
)


class ObjectStore(Hub):
    """The store that the scheme of a name says."""

    title = "object store"
    branch = ""
    commits = False

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def listing(self, name: Name) -> Listing:
        """The file itself, or every file within the folder."""
        with _plain_words(name):
            files, root = _open(name.name)
            found = {root: files.info(root)} if files.isfile(root) else dict(files.find(root, detail=True))
        if not found:
            raise TunesmithError(f"There is nothing at {name.name}.", "Name a file or a folder of the store.")
        listed = {_relative(full, root): _identity(info) for full, info in found.items() if info.get("type") != "directory"}
        return Listing.of_contents({path: identity for path, identity in listed.items() if not path.endswith("/")})

    def place(self, name: Name, version: str, path: str) -> Path:
        """In the folder of the name and version."""
        return within(self._folder(name, version), path)

    def _folder(self, name: Name, version: str) -> Path:
        return self._cache / "cloud" / hashlib.sha256(name.name.encode()).hexdigest()[:16] / version

    def fetch(self, name: Name, listing: Listing, path: str) -> None:
        """To its place; a file that was interrupted begins anew."""
        place = self.place(name, listing.version, path)
        with locked(self._folder(name, listing.version)), _plain_words(name):
            files, root = _open(name.name)
            full = root if files.isfile(root) else f"{root}/{path}"
            if _identity(files.info(full)) != listing.files[path]:
                raise TunesmithError(f"{path} of {name.name} has changed since the store listed it.", "Run again.")
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{place.name}.part")
            files.get_file(full, str(part))
            part.replace(place)


def _open(address: str) -> tuple[Any, str]:
    import fsspec

    scheme = address.partition("://")[0]
    if scheme not in STORES or "::" in address:
        raise TunesmithError(f"{address} is in no store that is known.", f"It begins with one of {', '.join(STORES)} and ://")
    files, root = fsspec.core.url_to_fs(address)
    return files, root.rstrip("/")


def _relative(full: str, root: str) -> str:
    """A path within the folder ``root``, or the bare name where ``root`` is the file itself."""
    return PurePosixPath(full).name if full == root else full.removeprefix(f"{root}/")


def _identity(info: dict[str, Any]) -> str:
    marks = next((f"{key}={info[key]}" for key in IDENTITY if info.get(key)), "")
    return f"{marks}:{info.get('size')}"


@contextmanager
def _plain_words(name: Name) -> Iterator[None]:
    scheme = name.name.partition("://")[0]
    try:
        yield
    except ImportError as error:
        raise TunesmithError(f"{name.name} needs a package that is not installed: {error}", _packages(scheme)) from error
    except FileNotFoundError as error:
        raise TunesmithError(f"There is nothing at {name.name}.", "Name a file or a folder of the store.") from error
    except PermissionError as error:
        raise TunesmithError(f"The store refuses {name.name} to you: {error}", _credentials(scheme)) from error
    except TunesmithError:
        raise
    except Exception as error:  # every store's library raises its own kinds, which have no root in common
        hint = f"Check the name and the network. {_credentials(scheme)}"
        raise TunesmithError(f"{name.name} could not be fetched: {type(error).__name__}: {error}", hint) from error


def _packages(scheme: str) -> str:
    packages = {
        "s3": "s3fs",
        "s3a": "s3fs",
        "gs": "gcsfs",
        "gcs": "gcsfs",
        "oss": "ossfs",
        "http": "aiohttp",
        "https": "aiohttp",
    }
    return f"pip install {packages.get(scheme, 'adlfs' if scheme in ('az', 'abfs', 'abfss', 'adl') else 'pyarrow')}"


def _credentials(scheme: str) -> str:
    word = {"s3a": "s3", "gcs": "gs"}.get(scheme, scheme).upper()
    anonymous = {"S3": " For a public bucket set FSSPEC_S3_ANON=true.", "GS": " For a public bucket set FSSPEC_GS_TOKEN=anon."}
    return f"Credentials are looked for where the store's own tools keep them.{anonymous.get(word, '')}"
