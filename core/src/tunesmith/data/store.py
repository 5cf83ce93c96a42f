"""Token stores: rows that were encoded once, and views that put them in order.

``rows/<key>/``
    the rows of one dataset: for each sequence ``NAME.ids.npy`` (int32), ``NAME.weights.npy`` (float32) and
    ``NAME.offsets.npy`` (int64, one more than rows), and perhaps ``facts.npy`` and ``media.npy`` with JSON to each row.
``…/train/``
    a view: ``order.npy`` names rows of one or more row folders, ``packs.npy`` says where packs of them end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.data.arrays import ArrayFile, read_array, read_manifest, write_array, write_manifest
from tunesmith.data.conversation import Media, Tokens
from tunesmith.data.media_column import MEDIA, MediaColumn, read_media
from tunesmith.data.tokens import Encoded
from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# ---- rows of one dataset ---------------------------------------------------------------------------------------------


@dataclass
class Sequences:
    """Rows of one sequence as flat arrays: one of ``ids`` to each token, one of ``lengths`` to each row.

    ``runs``: tokens of each stretch of one loss weight, and ``run_weights`` those weights: few, since blocks travel between
    processes.
    """

    ids: NDArray[np.int32]
    runs: NDArray[np.int64]
    run_weights: NDArray[np.float32]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Encoded]) -> Sequences:
        """Join encoded rows."""
        import numpy as np

        ids = np.concatenate([row.ids for row in rows]) if rows else np.empty(0, np.int32)
        runs = np.array([length for row in rows for length in row.lengths], np.int64)
        weights = np.array([weight for row in rows for weight in row.weights], np.float32)
        return cls(ids, runs, weights, np.array([len(row) for row in rows], np.int64))

    @property
    def weights(self) -> NDArray[np.float32]:
        """One loss weight to each token."""
        import numpy as np

        return np.repeat(self.run_weights, self.runs)

    @property
    def learned(self) -> int:
        """How many tokens have a weight."""
        return int(self.runs[self.run_weights != 0].sum())


class RowsWriter:
    """Writes the rows of one dataset into a staged folder, block by block."""

    def __init__(self, folder: Path, names: Sequence[str], *, facts: bool) -> None:
        self._folder = folder
        self._ids = {name: ArrayFile(folder / f"{name}.ids.npy", "int32") for name in names}
        self._weights = {name: ArrayFile(folder / f"{name}.weights.npy", "float32") for name in names}
        self._lengths: dict[str, list[NDArray[np.int64]]] = {name: [] for name in names}
        self._facts = ArrayFile(folder / "facts.npy", "uint8") if facts else None
        self._fact_lengths: list[int] = []
        self._media = MediaColumn(folder)

    def append(self, block: Mapping[str, Sequences], facts: Sequence[bytes], media: Sequence[tuple[Media, ...]] = ()) -> None:
        """Add rows; every sequence has the same number of them. ``media``: what is seen in each, empty where in none."""
        import numpy as np

        self._media.append(len(next(iter(block.values())).lengths), media)
        for name, rows in block.items():
            self._ids[name].append(rows.ids)
            self._weights[name].append(rows.weights)
            self._lengths[name].append(rows.lengths)
        if self._facts:
            self._facts.append(np.frombuffer(b"".join(facts), np.uint8))
            self._fact_lengths += map(len, facts)

    def close(self, **content: Any) -> None:
        """Finish the arrays and write the manifest."""
        files = [file.close() for file in (*self._ids.values(), *self._weights.values())]
        for name, lengths in self._lengths.items():
            files.append(write_array(self._folder / f"{name}.offsets.npy", _offsets(lengths)))
        if self._facts:
            import numpy as np

            files.append(self._facts.close())
            files.append(write_array(self._folder / "facts.offsets.npy", _offsets([np.array(self._fact_lengths, np.int64)])))
        files += self._media.close()
        rows = sum(len(lengths) for lengths in next(iter(self._lengths.values())))
        write_manifest(self._folder, what="rows", rows=rows, sequences=list(self._ids), files=files, **content)


def _offsets(lengths: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    import numpy as np

    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([*lengths, np.empty(0, np.int64)]))]).astype(
        np.int64
    )


@dataclass(frozen=True)
class RowStore:
    """The rows of one dataset. ``arrays`` maps a file's name without ``.npy`` to its array."""

    folder: Path
    manifest: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> RowStore:
        """Map the arrays into memory.

        :raises TunesmithError: the folder holds no rows, or not all of them.
        """
        manifest = read_manifest(folder)
        return cls(
            folder,
            manifest,
            {file["name"].removesuffix(".npy"): read_array(folder / file["name"]) for file in manifest["files"]},
        )

    def __len__(self) -> int:
        return int(self.manifest["rows"])

    @property
    def sequences(self) -> tuple[str, ...]:
        """Names of the sequences that each row has."""
        return tuple(self.manifest["sequences"])

    def lengths(self, name: str) -> NDArray[np.int64]:
        """Tokens of one sequence in each row."""
        import numpy as np

        return np.diff(self.arrays[f"{name}.offsets"])

    def tokens(self, name: str, row: int) -> Tokens:
        """One sequence of one row, as views into the mapped files."""
        start, end = self.arrays[f"{name}.offsets"][row : row + 2]
        return Tokens(self.arrays[f"{name}.ids"][start:end], self.arrays[f"{name}.weights"][start:end], self.media(row))

    @property
    def sees(self) -> bool:
        """Whether any row holds media."""
        return MEDIA in self.arrays

    def media(self, row: int) -> tuple[Media, ...]:
        """What is seen or heard in a row."""
        return read_media(self.arrays, row) if MEDIA in self.arrays else ()

    def facts(self, row: int) -> Mapping[str, Any]:
        """What is known of a row beside its tokens."""
        if "facts" not in self.arrays:
            return {}
        start, end = self.arrays["facts.offsets"][row : row + 2]
        found: dict[str, Any] = json.loads(self.arrays["facts"][start:end].tobytes())
        return found


# ---- views -----------------------------------------------------------------------------------------------------------


def write_view(
    folder: Path, rows: Sequence[Path], order: NDArray[np.int64], packs: NDArray[np.int64] | None, **content: Any
) -> None:
    """Write a view.

    :param rows: row folders as the view is to name them: relative to where it will lie.
    :param order: row numbers, counted through all row folders.
    :param packs: the end of each pack in ``order``; ``None`` when nothing is packed.
    """
    folder.mkdir()
    files = [write_array(folder / "order.npy", order)]
    if packs is not None:
        files.append(write_array(folder / "packs.npy", packs))
    write_manifest(folder, what="view", rows=[path.as_posix() for path in rows], files=files, **content)


class TokenStore:
    """What a trainer reads: examples of one or more datasets in one order, each a row or a pack of rows.

    ``store[i]`` maps the name of each sequence to its tokens. Sending a store to another process sends its path only.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], rows: Sequence[RowStore]) -> None:
        import numpy as np

        self.path = path
        self.manifest = manifest
        self._rows = rows
        self._bases = np.cumsum([0, *map(len, rows)])
        self._order = read_array(path / "order.npy")
        self._packs = read_array(path / "packs.npy") if manifest["packed"] else None

    @classmethod
    def open(cls, path: Path | str) -> TokenStore:
        """Open a view.

        :raises TunesmithError: it or the rows it names are not there or damaged.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if manifest.get("what") != "view":
            raise TunesmithError(f"{path} holds {manifest.get('what')}, not a view of prepared data.")
        return cls(path, manifest, [RowStore.open((path / rows).resolve()) for rows in manifest["rows"]])

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenStore.open, (self.path,)

    def __len__(self) -> int:
        return len(self._order if self._packs is None else self._packs)

    @property
    def sequences(self) -> tuple[str, ...]:
        """Names of the sequences that each example has."""
        return self._rows[0].sequences

    @property
    def kind(self) -> str:
        """The kind of example."""
        return str(self.manifest["kind"])

    @property
    def packed(self) -> bool:
        """Whether an example holds several rows."""
        return self._packs is not None

    @property
    def fingerprint(self) -> str:
        """Changes whenever the examples or their order could."""
        return str(self.manifest["fingerprint"])

    def __getitem__(self, index: int) -> Mapping[str, Tokens]:
        places = self._places(index)
        if len(places) == 1:
            return {name: places[0][0].tokens(name, places[0][1]) for name in self.sequences}
        return {name: join([store.tokens(name, row) for store, row in places]) for name in self.sequences}

    def boundaries(self, index: int, name: str | None = None) -> tuple[int, ...]:
        """Tokens in each row of an example: they add up to its length; one number where nothing is packed."""
        name = name or self.sequences[0]
        return tuple(len(store.tokens(name, row).ids) for store, row in self._places(index))

    def facts(self, index: int) -> Mapping[str, Any]:
        """What is known of an example's first row beside its tokens."""
        store, row = self._places(index)[0]
        return store.facts(row)

    def lengths(self, name: str | None = None) -> NDArray[np.int64]:
        """Tokens of each example, for samplers that group by length."""
        import numpy as np

        if not len(self):
            return np.empty(0, np.int64)
        name = name or self.sequences[0]
        by_row = np.concatenate([store.lengths(name) for store in self._rows])[self._order]
        return by_row if self._packs is None else np.add.reduceat(by_row, np.concatenate([[0], self._packs[:-1]]))

    def _places(self, index: int) -> list[tuple[RowStore, int]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no example {index}: there are {len(self)}")
        index %= len(self)
        if self._packs is None:
            rows = self._order[index : index + 1]
        else:
            rows = self._order[self._packs[index - 1] if index else 0 : self._packs[index]]
        return [self._place(int(row)) for row in rows]

    def _place(self, row: int) -> tuple[RowStore, int]:
        import numpy as np

        number = int(np.searchsorted(self._bases, row, side="right")) - 1
        return self._rows[number], row - int(self._bases[number])


def unpackable() -> TunesmithError:
    """The error for rows that are to be packed and hold media."""
    return TunesmithError("Rows with images, videos or audio cannot be packed.", "Write packing: false")


def join(parts: Sequence[Tokens]) -> Tokens:
    """Several rows in one."""
    import numpy as np

    ids, weights = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "weights"))
    return Tokens(ids, weights, tuple(media for part in parts for media in part.media))
