"""Which rows of which dataset come in which order: choosing, mixing and setting aside, all on row numbers.

The strategies are those of ``datasets.interleave_datasets``, so that a configuration that users have means the same thing:

``concat``
    one dataset after the other.
``interleave_under``
    draw datasets in turn (or by ``interleave_probs``) until the first one is used up.
``interleave_over``
    the same until every dataset was used up once; shorter ones begin again.
``interleave_once``
    the same, leaving out datasets that are used up, until every row was drawn once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows: TypeAlias = NDArray[np.int64]

#: Datasets drawn at a time.
BLOCK = 1 << 16


def check_mix(strategy: str, shares: Sequence[float], count: int) -> str:
    """What is wrong with ``mix_strategy`` and ``interleave_probs`` for ``count`` datasets; empty when nothing is."""
    if not shares:
        return ""
    if strategy == "concat":
        return "interleave_probs does nothing with mix_strategy: concat"
    if len(shares) != count:
        return f"interleave_probs has {len(shares)} numbers for {count} datasets"
    if min(shares) <= 0:
        return "interleave_probs has a share that is not above 0"
    return "" if abs(sum(shares) - 1) < 1e-6 else f"interleave_probs add up to {sum(shares):g}, not to 1"


def mix(datasets: Sequence[Rows], strategy: str, shares: Sequence[float] = (), seed: int = 0) -> Rows:
    """One order of rows out of those of several datasets.

    :param datasets: row numbers of each, in the order in which each is to be read.
    """
    import numpy as np

    if strategy == "concat" or len(datasets) < 2:
        return np.concatenate([*datasets, np.empty(0, np.int64)]).astype(np.int64)
    if any(len(rows) == 0 for rows in datasets):
        if strategy == "interleave_under":
            return np.empty(0, np.int64)
        kept = [i for i, rows in enumerate(datasets) if len(rows)]
        shares = [shares[i] for i in kept] if shares else ()
        return mix([datasets[i] for i in kept], strategy, [share / sum(shares) for share in shares], seed)
    drawn = _draw([len(rows) for rows in datasets], strategy, shares, seed)
    return _rows(datasets, drawn, once=strategy == "interleave_once")


def _draw(sizes: Sequence[int], strategy: str, shares: Sequence[float], seed: int) -> Rows:
    """Dataset numbers in the order in which rows are taken from them."""
    import numpy as np

    last = min if strategy == "interleave_under" else max
    if not shares:
        return np.tile(np.arange(len(sizes)), last(sizes))
    drawing = draws(len(sizes), shares, seed)
    blocks: list[Rows] = []
    counts = np.zeros(len(sizes), np.int64)
    enough = np.any if strategy == "interleave_under" else np.all
    while not enough(counts >= sizes):
        blocks.append(block := next(drawing))
        counts += np.bincount(block, minlength=len(sizes))
    drawn = np.concatenate(blocks)
    used_up = [np.flatnonzero(drawn == i)[size - 1] if counts[i] >= size else len(drawn) for i, size in enumerate(sizes)]
    return drawn[: last(used_up) + 1]


def draws(count: int, shares: Sequence[float], seed: int) -> Iterator[Rows]:
    """Dataset numbers drawn by their shares, without end, :data:`BLOCK` at a time."""
    import numpy as np

    random = np.random.default_rng(seed)
    while True:
        yield random.choice(count, BLOCK, p=shares)


def _rows(datasets: Sequence[Rows], drawn: Rows, *, once: bool) -> Rows:
    import numpy as np

    taken = np.empty(len(drawn), np.int64)
    keep = np.ones(len(drawn), bool)
    for number, rows in enumerate(datasets):
        places = np.flatnonzero(drawn == number)
        taken[places] = rows[np.arange(len(places)) % len(rows)]
        if once:
            keep[places[len(rows) :]] = False
    return taken[keep]


def choose(count: int, wanted: int | None, first: int | None, seed: int) -> Rows:
    """Row numbers of one dataset.

    :param wanted: ``num_samples`` of its entry: so many at random, begun again when there are not enough.
    :param first: ``max_samples``: no more than the first so many of those.
    """
    import numpy as np

    rows = np.arange(count, dtype=np.int64)
    if wanted is not None and count:
        random = np.random.default_rng(seed)
        times = -(-wanted // count)
        rows = np.concatenate([random.permutation(rows) for _ in range(times)])[:wanted]
    return rows if first is None else rows[:first]


def set_aside(rows: Rows, size: float, seed: int) -> Rows:
    """Row numbers for evaluation out of ``rows``, each once, in order: a share if ``size`` is below 1, else so many."""
    import numpy as np

    unique = np.unique(rows)
    count = round(size * len(unique)) if size < 1 else int(size)
    return np.sort(np.random.default_rng(seed).permutation(unique)[:count])
