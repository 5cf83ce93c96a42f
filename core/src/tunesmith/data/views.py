"""The views of a run: which prepared rows it trains and evaluates on, in which order, packed or not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.data.cache import Key, fingerprint
from tunesmith.data.mix import choose, mix, set_aside
from tunesmith.data.pack import pack
from tunesmith.data.preparation import Job, Preparation
from tunesmith.data.report import ViewReport
from tunesmith.data.store import RowStore, unpackable, write_view
from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

TRAIN, EVAL = "train", "eval"


@dataclass(frozen=True)
class Pool:
    """Row folders that views draw from, their rows counted through."""

    stores: tuple[RowStore, ...]

    @classmethod
    def of(cls, preparation: Preparation, jobs: Sequence[Job]) -> Pool:
        """The folders of some jobs, each once."""
        return cls(tuple(RowStore.open(place) for place in dict.fromkeys(preparation.places.rows_of(job.key) for job in jobs)))

    def rows(self, preparation: Preparation, job: Job) -> Rows:
        """The rows of one dataset that the run uses."""
        place = preparation.places.rows_of(job.key)
        number = next(i for i, store in enumerate(self.stores) if store.folder == place)
        base = sum(map(len, self.stores[:number]))
        wanted = job.dataset.entry.get("num_samples")
        return base + choose(
            len(self.stores[number]), wanted, preparation.options.max_samples if wanted else None, preparation.seed
        )

    @property
    def lengths(self) -> Rows:
        """Tokens of each row, in its longest sequence."""
        import numpy as np

        return np.concatenate([np.maximum.reduce([store.lengths(name) for name in store.sequences]) for store in self.stores])


@dataclass(frozen=True)
class View:
    """A view before it is written. ``split``: train or eval; ``name`` tells those of one split apart."""

    split: str
    name: str
    pool: Pool
    order: Rows

    @property
    def folder(self) -> str:
        """The name of its folder within that of the run."""
        return self.split if self.split == self.name else f"{self.split}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


def views_of(preparation: Preparation, jobs: Sequence[Job]) -> list[View]:
    """Train first, then what is evaluated on."""
    train = [job for job in jobs if job.dataset.split == TRAIN]
    others = [job for job in jobs if job.dataset.split != TRAIN]
    views = _train_views(preparation, train) if train else []
    if preparation.options.eval_on_each_dataset:
        return views + [_eval_view(preparation, job.dataset.name, [job]) for job in others]
    return views + ([_eval_view(preparation, EVAL, others)] if others else [])


def _train_views(preparation: Preparation, jobs: Sequence[Job]) -> list[View]:
    """Rows are set aside before datasets are mixed: a row that is drawn twice must not be on both sides."""
    import numpy as np

    options, pool = preparation.options, Pool.of(preparation, jobs)
    datasets = [pool.rows(preparation, job) for job in jobs]
    views = []
    if options.val_size:
        aside = set_aside(np.concatenate(datasets), options.val_size, preparation.seed)
        everything, datasets = sum(map(len, datasets)), [rows[~np.isin(rows, aside)] for rows in datasets]
        if not any(map(len, datasets)):
            what = f"val_size: {options.val_size:g} sets all {everything} examples aside for evaluation; none is left to learn."
            raise TunesmithError(what, "Write a smaller val_size, or name other data with eval_dataset.")
        views = [View(EVAL, EVAL, pool, aside)]
    order = mix(datasets, options.mix_strategy, options.interleave_probs, preparation.seed)
    return [View(TRAIN, TRAIN, pool, order), *views]


def _eval_view(preparation: Preparation, name: str, jobs: Sequence[Job]) -> View:
    pool = Pool.of(preparation, jobs)
    return View(EVAL, name, pool, mix([pool.rows(preparation, job) for job in jobs], "concat"))


def write_views(preparation: Preparation, views: Sequence[View], staging: Path, final: Path, key: Key) -> list[ViewReport]:
    """Write the views of a run into ``staging``, which will become ``final``."""
    return [_write(preparation, view, staging / view.folder, final / view.folder, key) for view in views]


def _write(preparation: Preparation, view: View, folder: Path, final: Path, key: Key) -> ViewReport:
    lengths = view.pool.lengths[view.order]
    order, packs = view.order, None
    if preparation.packing:
        if any(store.sees for store in view.pool.stores):
            raise unpackable()
        places, packs = pack(lengths, preparation.options.cutoff_len)
        order = order[places]
    rows = [Path(os.path.relpath(store.folder.resolve(), final.resolve())) for store in view.pool.stores]
    write_view(
        folder,
        rows,
        order,
        packs,
        kind=view.pool.stores[0].manifest["kind"],
        packed=packs is not None,
        fingerprint=fingerprint({"run": key, "view": view.folder}),
    )
    examples, tokens = len(order if packs is None else packs), int(lengths.sum())
    fill = tokens / (examples * preparation.options.cutoff_len) if packs is not None and examples else None
    return ViewReport(view.name, examples, len(order), tokens, fill)
