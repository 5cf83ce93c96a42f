"""Choosing, mixing, setting aside and packing, all on row numbers."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from tunesmith.data.mix import check_mix, choose, mix, set_aside
from tunesmith.data.pack import pack

STRATEGIES = {
    "interleave_under": "first_exhausted",
    "interleave_over": "all_exhausted",
    "interleave_once": "all_exhausted_without_replacement",
}


def parts(*sizes: int) -> list[np.ndarray]:
    ends = np.cumsum(sizes)
    return [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]


@pytest.mark.parametrize("shares", [(), (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("strategy", ["interleave_under", "interleave_over"])
def test_the_order_is_that_of_datasets(strategy: str, shares: tuple[float, ...]) -> None:
    rows = parts(5, 9, 3)
    theirs = datasets.interleave_datasets(
        [datasets.Dataset.from_dict({"row": part.tolist()}) for part in rows],
        probabilities=list(shares) or None,
        seed=7,
        stopping_strategy=STRATEGIES[strategy],
    )
    assert mix(rows, strategy, shares, 7).tolist() == theirs["row"][:]


@pytest.mark.parametrize("shares", [(), (0.6, 0.3, 0.1)])
def test_interleave_once_gives_each_row_once_in_its_datasets_order(shares: tuple[float, ...]) -> None:
    rows = parts(5, 900, 3)
    order = mix(rows, "interleave_once", shares, 7)
    assert sorted(order.tolist()) == list(range(908))
    for part in rows:
        assert [row for row in order if row in set(part.tolist())] == part.tolist()
    assert order.tolist() != sorted(order.tolist())


def test_concat_keeps_datasets_together_and_counts_a_name_twice() -> None:
    rows = parts(2, 3)
    assert mix([*rows, rows[0]], "concat").tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_shares_decide_how_often_a_dataset_is_drawn() -> None:
    order = mix(parts(10_000, 10_000), "interleave_under", (0.8, 0.2), 3)
    assert 0.78 < (order < 10_000).mean() < 0.82


def test_an_empty_dataset_ends_or_leaves_the_mix() -> None:
    rows = [np.arange(3), np.arange(0)]
    assert len(mix(rows, "interleave_under", (0.5, 0.5))) == 0
    assert sorted(mix(rows, "interleave_over", (0.5, 0.5)).tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("strategy", "shares", "problem"),
    [
        ("concat", (0.5, 0.5), "does nothing"),
        ("interleave_under", (1.0,), "has 1 numbers for 2 datasets"),
        ("interleave_under", (1.0, 0.0), "not above 0"),
        ("interleave_under", (0.5, 0.6), "add up to 1.1"),
        ("interleave_under", (0.5, 0.5), ""),
        ("concat", (), ""),
    ],
)
def test_shares_are_checked(strategy: str, shares: tuple[float, ...], problem: str) -> None:
    assert (problem in check_mix(strategy, shares, 2)) if problem else check_mix(strategy, shares, 2) == ""


def test_choosing_rows() -> None:
    assert choose(5, None, None, 0).tolist() == [0, 1, 2, 3, 4]
    assert choose(5, None, 3, 0).tolist() == [0, 1, 2]
    drawn = choose(5, 12, None, 1)
    assert (len(drawn), set(np.bincount(drawn).tolist())) == (12, {2, 3})
    assert choose(100, 10, None, 1).tolist() == choose(100, 10, None, 1).tolist() != choose(100, 10, None, 2).tolist()
    assert choose(100, 10, 4, 1).tolist() == choose(100, 10, None, 1).tolist()[:4]


def test_setting_aside_takes_each_row_once() -> None:
    rows = np.array([4, 1, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9])
    assert len(set_aside(rows, 0.2, 0)) == 2
    assert set_aside(rows, 4, 0).tolist() == sorted(set(set_aside(rows, 4, 0).tolist()))
    assert set_aside(rows, 4, 0).tolist() != set_aside(rows, 4, 1).tolist()


@pytest.mark.parametrize("limit", [16, 64, 4096])
def test_packs_hold_every_row_once_and_never_too_much(limit: int) -> None:
    lengths = np.random.default_rng(0).integers(1, limit + 1, 500)
    order, ends = pack(lengths, limit)
    assert sorted(order.tolist()) == list(range(500))
    filled = np.add.reduceat(lengths[order], np.concatenate([[0], ends[:-1]]))
    assert filled.max() <= limit
    assert len(ends) <= -(-lengths.sum() // limit) * 1.1 + 1


def test_packing_is_best_fit() -> None:
    order, ends = pack(np.array([6, 5, 4, 3, 2]), 10)
    packs = [sorted(part.tolist()) for part in np.split(order, ends)[:-1]]
    assert sorted(packs) == [[0, 2], [1, 3, 4]]


def test_packing_nothing() -> None:
    order, ends = pack(np.array([], np.int64), 10)
    assert (len(order), len(ends)) == (0, 0)
