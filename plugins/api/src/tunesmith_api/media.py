"""Images, videos and sounds of a request → files that live as long as the request does.

A data URL is decoded; a file must lie under ``safe_media_path`` once every link is followed; a URL is fetched only where
``api_media_urls`` allows it, by :mod:`tunesmith_api.fetching`.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from tunesmith.data.conversation import Conversation, Media, Part

from tunesmith_api.errors import ApiError, bad
from tunesmith_api.fetching import fetch
from tunesmith_api.options import ApiOptions

#: Pieces of media that one request may have.
MOST = 64
#: What files of each kind begin with, as (place, bytes), so that nothing else is handed to decoders.
BEGINNINGS = {
    "image": [(0, b"\x89PNG\r\n\x1a\n"), (0, b"\xff\xd8\xff"), (0, b"GIF8"), (8, b"WEBP"), (0, b"BM")],
    "video": [(4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI "), (0, b"GIF8")],
    "audio": [(8, b"WAVE"), (0, b"ID3"), (0, b"\xff\xfb"), (0, b"\xff\xf3"), (0, b"fLaC"), (0, b"OggS"), (4, b"ftyp")],
}


class MediaDesk:
    """Brings the media of one request. Use it as a context manager: files that it made are gone afterwards."""

    def __init__(self, options: ApiOptions, get: Callable[[str, int], bytes] = fetch) -> None:
        self._options = options
        self._get = get
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def __enter__(self) -> MediaDesk:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def file(self, url: str, kind: str, param: str) -> Path:
        """The file that ``url`` stands for.

        :raises ApiError: it may not be had, or is no ``kind``; 403 where the server's rules forbid it.
        """
        self._count += 1
        if self._count > MOST:
            raise bad(f"A request may have {MOST} images, videos and sounds.", param)
        try:
            scheme = urlsplit(url).scheme.lower()
        except ValueError as error:
            raise bad(f"{param} is no URL: {error}.", param) from error
        if scheme == "data":
            return self._kept(_decoded(url, param), kind, param)
        if scheme in ("http", "https"):
            return self._kept(self._fetched(url, param), kind, param)
        return self._local(url.removeprefix("file://") if scheme == "file" else url, kind, param)

    def kept(self, conversation: Conversation) -> Conversation:
        """A conversation whose media hold their bytes, which outlive the files that were made for it."""
        return replace(
            conversation, turns=tuple(replace(turn, parts=tuple(map(_with_bytes, turn.parts))) for turn in conversation.turns)
        )

    def _fetched(self, url: str, param: str) -> bytes:
        if not self._options.api_media_urls:
            raise ApiError(403, "This server fetches no URLs (api_media_urls). Send a data URL.", param)
        try:
            return self._get(url, self._options.api_max_body * 2**20)
        except ApiError as error:
            raise ApiError(error.status, error.message, param, error.code) from error

    def _local(self, name: str, kind: str, param: str) -> Path:
        root = self._options.safe_media_path
        if root is None or not self._options.allow_local_files:
            raise ApiError(403, "This server reads no files for requests (safe_media_path, allow_local_files).", param)
        inside = Path(root).resolve()
        try:
            path = (inside / name).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise ApiError(403, "This server reads only files under its safe_media_path.", param) from error
        # One answer for everything outside, so that nobody learns what is there.
        if not path.is_relative_to(inside):
            raise ApiError(403, "This server reads only files under its safe_media_path.", param)
        if not path.is_file():
            raise bad("There is no such file under safe_media_path.", param)
        if path.stat().st_size > self._options.api_max_body * 2**20:
            raise bad(f"The file has more than {self._options.api_max_body} megabytes (api_max_body).", param)
        with path.open("rb") as file:
            _check(file.read(16), kind, param)
        return path

    def _kept(self, data: bytes, kind: str, param: str) -> Path:
        _check(data, kind, param)
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="tunesmith-media-")
        path = Path(self._folder.name) / f"{self._count}"
        path.write_bytes(data)
        return path


def _with_bytes(part: Part) -> Part:
    return replace(part, data=Path(part.path).read_bytes()) if isinstance(part, Media) else part


def _decoded(url: str, param: str) -> bytes:
    head, comma, data = url.partition(",")
    if not comma:
        raise bad(f"{param} is no data URL: it has no comma.", param)
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad(f"{param} is no base64: {error}.", param) from error


def _check(data: bytes, kind: str, param: str) -> None:
    if not any(data[at : at + len(begin)] == begin for at, begin in BEGINNINGS[kind]):
        raise bad(f"{param} holds no {kind} of a kind that is known here.", param)
