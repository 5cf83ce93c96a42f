"""A stream as torch's loaders read it, with its place in the data kept in checkpoints.

Blocks are made by the loader's workers, or here where there are none; they come in one order however many workers there are.
Rows are counted and batched in this process, so that its place is exactly that of the trainer: nothing is read ahead of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tunesmith.data.live_report import LiveReport
from tunesmith.data.report import Report
from tunesmith.data.store import TokenStore
from tunesmith.data.stream import Place, Stream, StreamBlock
from tunesmith.errors import TunesmithError
from tunesmith.runtime.collate import Rows
from tunesmith.runtime.durable_files import write_text
from tunesmith.runtime.interruption import keep_workers
from tunesmith.runtime.tensor_tree import is_saved, load_tree, save_tree

if TYPE_CHECKING:  # workers, which import this module, start sooner without
    from transformers import TrainingArguments

log = logging.getLogger(__name__)

REPORT = "data_report.json"


@dataclass(frozen=True)
class Mistake:
    """A user's mistake on its way out of a worker, which would otherwise bury it in a traceback."""

    message: str
    hint: str


class Blocks(IterableDataset[StreamBlock | Mistake]):
    """The blocks that one process of a run makes, shared out among its workers.

    :param part: the number of the process, and how many there are.
    """

    def __init__(self, stream: Stream, start: Place, part: tuple[int, int]) -> None:
        self.stream, self.start, self.part = stream, start, part

    def __iter__(self) -> Iterator[StreamBlock | Mistake]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        process, processes = self.part
        begun = self.start.number // processes

        def mine(number: int) -> bool:
            return number % processes == process and (number // processes - begun) % workers == worker

        try:
            yield from self.stream.blocks(self.start, mine)
        except TunesmithError as error:
            yield Mistake(error.message, error.hint)


class StreamedRows(IterableDataset[Mapping[str, Any]]):
    """The examples of a stream without end, from where the run stands.

    :param args: says how many workers there are, and which process of how many this is.
    """

    def __init__(self, stream: Stream, args: TrainingArguments) -> None:
        self.stream = stream
        self.live = LiveReport(stream, args.world_size)
        self.place: Place | None = None
        self.given = 0
        self._args = args

    @property
    def packed(self) -> bool:
        """Whether an example holds several rows."""
        return self.stream.packed

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        begun = self.place
        for block in self._blocks():
            if begun is None or block.place != begun:
                self.live.add(block)
                self.place, self.given = block.place, 0
            for example in block.examples[self.given :]:
                self.given += 1
                yield example
        names = ", ".join(job.dataset.name for job in self.stream.jobs)
        raise TunesmithError(f"{names}: there are no rows to learn from.", "The files are empty, or val_size takes all rows.")

    def _blocks(self) -> Iterator[StreamBlock]:
        process, processes = self._args.process_index, self._args.world_size
        # Process p begins with block p; before that nothing is its own.
        blocks = Blocks(self.stream, self.place or Place(), (process, processes))
        workers = self._args.dataloader_num_workers
        loader: DataLoader[Any] = DataLoader(
            blocks,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,  # a fork of a process with threads may hang
            generator=torch.Generator(),  # the run's own random numbers stay as they are
        )
        keep_workers(loader)
        for found in loader:
            if isinstance(found, Mistake):
                raise TunesmithError(found.message, found.hint)
            yield found

    def loader(self, size: int, collate: Callable[[Any], Any]) -> DataLoader[Any]:
        """Batches of ``size``."""
        return DataLoader(self, batch_size=size, collate_fn=collate, generator=torch.Generator())

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write this process's place in the data, and what was counted up to there."""
        if self.place is not None:
            state = {"place": asdict(self.place), "given": self.given, "live": self.live.state()}
            save_tree(folder / f"stream-{self._args.process_index}", state)

    def load(self, folder: Path) -> None:
        """Go on from what :meth:`save` wrote."""
        stem = folder / f"stream-{self._args.process_index}"
        if not is_saved(stem):
            log.warning("%s holds no place in the data: the stream starts anew.", folder)
            return
        state = load_tree(stem)
        self.place, self.given = Place(**state["place"]), state["given"]
        self.live.load(state["live"])

    def write_report(self, folder: Path, rest: Report) -> None:
        """Write the data report as it is now; ``rest`` is that of what was prepared."""
        write_text(folder / REPORT, self.live.report(rest).to_json())


def _as_it_is(block: Any) -> Any:
    return block


def rows_of(data: TokenStore | StreamedRows) -> Rows | StreamedRows:
    """Training data as a trainer wants it."""
    return data if isinstance(data, StreamedRows) else Rows(data)
