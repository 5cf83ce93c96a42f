"""Filling examples up to ``cutoff_len`` with several rows, none of which is cut.

Best fit, longest first: each row goes where the least room stays free. "Fewer Truncations Improve Language Modeling",
Ding et al. 2024 (https://arxiv.org/abs/2404.10830), calls it best-fit packing. The rooms that packs have left are bits of one
number, so that the best fit is found at once and millions of rows take seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pack(lengths: NDArray[np.int64], limit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Put every row into exactly one pack of at most ``limit`` tokens.

    :param lengths: tokens of each row, none above ``limit``.
    :return: row numbers pack by pack, each pack's in rising order and packs by their first row; and the end of each pack
        in that list.
    """
    import numpy as np

    bins = _fit(np.argsort(-lengths, kind="stable").tolist(), lengths.tolist(), limit)
    packs = sorted(sorted(rows) for rows in bins)
    order = np.fromiter((row for rows in packs for row in rows), np.int64, len(lengths))
    return order, np.cumsum(np.fromiter(map(len, packs), np.int64, len(packs)))


def _fit(order: list[int], lengths: list[int], limit: int) -> list[list[int]]:
    """Bit *r* of ``mask``: some pack has exactly *r* tokens of room. The best fit is the lowest bit from the length up."""
    bins: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    mask = 0
    for row in order:
        length = lengths[row]
        fits = mask >> length
        if fits:
            room = length + (fits & -fits).bit_length() - 1
            number = by_room[room].pop()
            if not by_room[room]:
                mask &= ~(1 << room)
            bins[number].append(row)
        else:
            room, number = limit, len(bins)
            bins.append([row])
        left = room - length
        if left > 0:
            by_room.setdefault(left, []).append(number)
            mask |= 1 << left
    return bins
