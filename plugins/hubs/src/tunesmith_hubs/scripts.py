"""Loading scripts: code that comes with a dataset and would have to be run to get at its rows. It never is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tunesmith.contracts import Source
from tunesmith.defaults.local_files import READERS
from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from tunesmith.plan import DatasetPlan, Plan

WHY = "its rows come out of a loading script, and code that comes with data is not run"


def refuse(entry: Mapping[str, Any], folder: str) -> NoReturn:
    """Say why the script of an entry is not run, and what to do instead.

    :raises TunesmithError: always.
    """
    name = str(entry["script_url"])
    place = Path(folder) / name
    beside = sorted({file.suffix for file in place.iterdir()} & set(READERS)) if place.is_dir() else []
    hint = "Run it yourself, save the rows as jsonl or parquet, and write file_name."
    if beside:
        hint = f'Its folder holds {" and ".join(beside)} files: write "file_name", or do as follows. {hint}'
    raise TunesmithError(f"script_url: {name}: {WHY}.", hint)


class Script(Source):
    """A source without rows: making one raises."""

    def __init__(self, dataset: DatasetPlan, plan: Plan) -> None:
        refuse(dataset.entry, dataset.folder)

    def files(self) -> Sequence[Path]:
        """None."""
        return ()

    def rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """None."""
        yield from ()
