"""Rows from files on this machine: json, jsonl, csv, txt, parquet, arrow, or a folder of one of them.

Paths are relative to the folder of ``dataset_info.json``. A relative path must stay inside that folder (links followed), so
that a downloaded ``dataset_info.json`` cannot read other files by accident; an absolute path is taken as it stands.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.contracts import Source
from tunesmith.data.columns import kind_of
from tunesmith.defaults.json_lines import no_text, read_objects
from tunesmith.errors import TunesmithError, nearest
from tunesmith.json_faults import json_hint

if TYPE_CHECKING:
    from tunesmith.plan import DatasetPlan, Plan

Row = tuple[str, Mapping[str, Any]]
#: Texts of more than the csv module's usual 128 KiB are ordinary training data.
LONGEST_CSV_FIELD = 1 << 30


def list_files(entry: Mapping[str, Any], folder: str) -> tuple[Path, ...]:
    """The files that ``file_name`` of an entry names, sorted by name within a folder.

    :raises TunesmithError: one is not there, is of no known type, lies outside, or a folder mixes types.
    """
    names = entry["file_name"]
    files = tuple(file for name in (names if isinstance(names, list) else [names]) for file in _expand(str(name), Path(folder)))
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1:
        raise TunesmithError(
            f"{entry['file_name']} holds files of several types: {', '.join(kinds)}.", "Keep one type to a dataset."
        )
    return files


def _expand(name: str, folder: Path) -> list[Path]:
    path = Path(name).expanduser()
    if not path.is_absolute():
        path = folder / path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise TunesmithError(f"{name} lies outside {folder}.", "Move the file there, or write an absolute path.")
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise TunesmithError(f"There is no file {path}.", _nearest_file(path) or f"Paths start at {folder}, or at /.")
    _reader(path)
    return [path]


def _folder(path: Path) -> list[Path]:
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise TunesmithError(f"The folder {path} holds no files.", "Put the rows there, or name another folder.")
    for file in files:
        _reader(file)
    return files


def _nearest_file(path: Path) -> str:
    return nearest(path.name, [entry.name for entry in path.parent.iterdir()]) if path.parent.is_dir() else ""


class LocalFiles(Source):
    """Rows of the files that ``file_name`` names, in the order of the files."""

    def __init__(self, dataset: DatasetPlan, plan: Plan | None = None) -> None:
        self._files = list_files(dataset.entry, dataset.folder)

    def files(self) -> Sequence[Path]:
        """The files themselves."""
        return self._files

    def rows(self) -> Iterator[Row]:
        """Each row with file and line, or file and number where lines mean nothing."""
        for file in self._files:
            yield from rows_of(file)


def rows_of(file: Path) -> Iterator[Row]:
    """The rows of one file, each with its place, read as its suffix says; for other sources that have files too.

    :raises TunesmithError: it is of no known type, or malformed.
    """
    yield from _reader(file)(file)


def _reader(file: Path) -> Callable[[Path], Iterator[Row]]:
    try:
        return READERS[file.suffix.lower()]
    except KeyError:
        known = ", ".join(kind.lstrip(".") for kind in READERS)
        raise TunesmithError(f"{file} is of no known type.", f"Known are {known}.") from None


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, counted from 1."""
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.isspace():
                    yield number, line
    except UnicodeDecodeError as error:
        raise _no_text(file) from error


def _no_text(file: Path) -> TunesmithError:
    """The error for a file that is not UTF-8; finds the line, which the decoder does not tell."""
    with file.open("rb") as lines:
        number = next((number for number, line in enumerate(lines, 1) if line != line.decode("utf-8", "ignore").encode()), 1)
    return no_text(f"{file}:{number}")


def _is_row(row: object, place: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise TunesmithError(f"{place}: this row is {kind_of(row)}, not a JSON object.", 'A row looks like {"column": "text"}.')
    return row


def _read_jsonl(file: Path) -> Iterator[Row]:
    for place, row in read_objects(file):
        yield place, _is_row(row, place)


def _read_json(file: Path) -> Iterator[Row]:
    """A list of objects; a file with an object on each line is read as jsonl, whatever its name says."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _read_jsonl(file)
            return
        raise TunesmithError(f"{file}:{error.lineno}: no valid JSON: {error.msg}.", json_hint(error)) from error
    except UnicodeDecodeError as error:
        raise _no_text(file) from error
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        place = f"{file}: row {number}"
        yield place, _is_row(row, place)


def _read_csv(file: Path) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CSV_FIELD)
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            for row in reader:
                place = f"{file}:{reader.line_num}"
                if None in row or None in row.values():
                    raise TunesmithError(f"{place}: this row has another number of cells than the header.", "Mend the row.")
                yield place, row
    except csv.Error as error:
        what = f"{file}:{reader.line_num + 1}: the row that begins here is no valid CSV: {error}."
        raise TunesmithError(what, "Mend the row; a quote within a text is written twice.") from error
    except UnicodeDecodeError as error:
        raise _no_text(file) from error


def _read_text(file: Path) -> Iterator[Row]:
    """Each line that is not blank is a row with the column ``text``."""
    for number, line in _lines(file):
        yield f"{file}:{number}", {"text": line.rstrip("\r\n")}


def _read_parquet(file: Path) -> Iterator[Row]:
    """Record batches as they come, so that a file larger than memory is no trouble."""
    arrow = _arrow(file)
    yield from _arrow_rows(file, lambda: arrow.parquet.ParquetFile(file).iter_batches(1024))


def _read_arrow(file: Path) -> Iterator[Row]:
    """A stream, as the library datasets writes, or a file."""
    yield from _arrow_rows(file, lambda: _arrow_batches(file))


def _arrow_batches(file: Path) -> Iterator[Any]:
    arrow = _arrow(file)
    with arrow.memory_map(str(file)) as data:
        try:
            stream = arrow.ipc.open_stream(data)
        except arrow.ArrowInvalid:
            whole = arrow.ipc.open_file(data)
            yield from (whole.get_batch(i) for i in range(whole.num_record_batches))
        else:
            yield from stream


def _arrow(file: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise TunesmithError(f"{file} needs the package pyarrow, which is not installed.", "pip install pyarrow") from error
    return pyarrow


def _arrow_rows(file: Path, batches: Callable[[], Iterator[Any]]) -> Iterator[Row]:
    arrow = _arrow(file)
    number = 0
    try:
        for batch in batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{file}: row {number}", row
    except (arrow.ArrowInvalid, OSError) as error:
        hint = "The file is damaged or of another type."
        raise TunesmithError(f"{file} cannot be read after row {number}: {error}", hint) from error


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".txt": _read_text,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
}
