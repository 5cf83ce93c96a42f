"""The files that are seen or heard in prepared rows: a column that is there only where any row has one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.data.arrays import ArrayFile, write_array
from tunesmith.data.conversation import Media

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEDIA = "media"


class MediaColumn:
    """Writes the column into a staged folder, block by block: JSON lists of kinds and paths."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: ArrayFile | None = None
        self._lengths: list[int] = []

    def append(self, rows: int, media: Sequence[tuple[Media, ...]]) -> None:
        """Add ``rows`` rows; ``media`` has one entry to each, or none at all."""
        import numpy as np

        if not media:
            self._lengths += [0] * rows
            return
        if self._file is None:
            self._file = ArrayFile(self._folder / f"{MEDIA}.npy", "uint8")
        texts = [json.dumps([[one.kind, one.path] for one in row]).encode() if row else b"" for row in media]
        self._file.append(np.frombuffer(b"".join(texts), np.uint8))
        self._lengths += map(len, texts)

    def close(self) -> list[Any]:
        """Finish the files, for the manifest."""
        import numpy as np

        if self._file is None:
            return []
        offsets = np.cumsum([0, *self._lengths]).astype(np.int64)
        return [self._file.close(), write_array(self._folder / f"{MEDIA}.offsets.npy", offsets)]


def read_media(arrays: Mapping[str, NDArray[Any]], row: int) -> tuple[Media, ...]:
    """What is seen in a row, from the arrays of its folder."""
    start, end = arrays[f"{MEDIA}.offsets"][row : row + 2]
    return tuple(Media(kind, path) for kind, path in json.loads(arrays[MEDIA][start:end].tobytes() or b"[]"))
