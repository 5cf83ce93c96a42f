"""Every tuner in every stage over every quantizer: it trains, or planning says why it cannot.

``make test`` runs a cover in which every pair occurs, ``make matrix`` all of them. Both come from what the installed specs
declare (see ``tools/combinations.py``).
"""

from __future__ import annotations

import gc
import math
import os
import shutil
from collections.abc import Iterator

import pytest
from combinations import MODEL, TEACHER, Combination, Place, pairwise
from tunesmith import launch
from tunesmith.errors import ConfigError
from tunesmith.plugins import Plugins

FULL = bool(os.environ.get("TUNESMITH_FULL_MATRIX"))
TUNERS = [offer.spec.name for offer in Plugins().tuners]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A model, data, and memory that the many runs need not look through again and again."""
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("combinations")
    made = Place(folder, Plugins())
    make_tiny("llama", folder / MODEL, hidden=128, intermediate=256, layers=2)
    shutil.copytree(folder / MODEL, folder / TEACHER)
    gc.collect()
    gc.freeze()
    yield made
    gc.unfreeze()


@pytest.fixture(scope="module")
def chosen(place: Place) -> list[Combination]:
    return place.all() if FULL else place.cover()


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("tuner", TUNERS)
def test_it_trains_or_the_plan_says_why_not(place: Place, chosen: list[Combination], tuner: str) -> None:
    faults = [f"{one}: {fault}" for one in chosen if one.tuner == tuner and (fault := fault_of(place, one))]
    assert not faults, "\n" + "\n".join(faults)


def fault_of(place: Place, one: Combination) -> str:
    """What is wrong with how a combination went; empty when it did what its specs say."""
    excluded = one.bits.excludes(place.plugins.tuners.get(one.tuner).spec)
    try:
        plan = place.plan(one)
    except ConfigError as error:
        hints = all(problem.instead for problem in error.problems)
        return "" if hints else f"the plan refuses it and offers nothing instead: {error}"
    if excluded:
        return "its specs exclude it, and the plan does not refuse it"
    if plan.missing:
        return ""  # this machine lacks what it needs, and the plan says so
    return _trains(place, one)


def _trains(place: Place, one: Combination) -> str:
    try:
        outcome = launch.train(place.plan(one), place.plugins)
    except Exception as error:  # whatever it is, it is this combination's fault and the others are to be seen too
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    finally:
        shutil.rmtree(place.folder / "out", ignore_errors=True)
    loss = outcome.metrics.get("train_loss", math.nan)
    return "" if outcome.steps == 2 and math.isfinite(loss) else f"{outcome.steps} steps, loss {loss}"


def test_a_cover_has_every_pair_and_is_small(place: Place) -> None:
    everything = place.all()
    cover = pairwise(everything)

    def pairs(some: list[Combination]) -> set[tuple[str, str]]:
        values = [(f"t {one.tuner}", f"s {one.stage}", f"b {one.bits}") for one in some]
        return {pair for t, s, b in values for pair in ((t, s), (t, b), (s, b))}

    assert pairs(cover) == pairs(everything)
    ways, stages = len(place.ways), len(list(place.plugins.trainers))
    assert len(cover) < 1.3 * len(TUNERS) * max(ways, stages)
