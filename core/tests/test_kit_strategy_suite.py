"""The suite for strategies: a sound one passes, and each fault it promises to find is found."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tunesmith.testing import StrategySuite
from tunesmith.testing.strategy_suite import Evidence, gather

HERE = str(Path(__file__).parent)
#: Those that have to run; the others are found out before.
RUN = ("sound", "deaf", "forgetful", "pickling", "partial")
FAULTS = [
    ("deaf", "test_two_processes_learn_what_one_learns"),
    ("deaf", "test_the_model_is_what_it_says"),
    ("forgetful", "test_it_goes_on_from_its_checkpoint"),
    ("pickling", "test_its_checkpoints_hold_no_pickle"),
    ("partial", "test_final_weights_are_whole_and_load_anywhere"),
    ("credulous", "test_it_refuses_a_model_that_nobody_shares"),
    ("pushy", "test_it_is_asked_for_by_its_keys_alone"),
]
SOUND = [name for name in vars(StrategySuite) if name.startswith("test_")]


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The strategies, here and in the processes that are started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        patch.setenv("PYTHONPATH", HERE)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
        sys.modules.pop("strategies_small", None)


def suite_of(name: str) -> StrategySuite:
    import strategies_small

    class Suite(StrategySuite):
        spec = strategies_small.SPECS[name]
        plugin = "strategies_small"
        wraps = ("DistributedDataParallel",)
        runs = {"plain": {}}  # noqa: RUF012

    return Suite()


@pytest.fixture(scope="module")
def seen(importable: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evidence]:
    suites = [suite_of(name) for name in RUN]
    return dict(zip(RUN, gather(suites, tmp_path_factory.mktemp("strategies")), strict=True))


def run(name: str, test: str, seen: dict[str, Evidence], folder: Path) -> None:
    method = getattr(suite_of(name), test)
    given = {"seen": seen.get(name), "tmp_path": folder}
    method(**{key: given[key] for key in inspect.signature(method).parameters})


@pytest.mark.parametrize("test", SOUND)
def test_a_sound_strategy_passes(test: str, seen: dict[str, Evidence], tmp_path: Path) -> None:
    run("sound", test, seen, tmp_path)


@pytest.mark.parametrize(("name", "test"), FAULTS)
def test_a_fault_is_found(name: str, test: str, seen: dict[str, Evidence], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(name, test, seen, tmp_path)


def test_every_test_of_the_suite_can_fail() -> None:
    """The one about words is that of every suite, and tried with those."""
    assert {test for _, test in FAULTS} == set(SOUND) - {"test_its_spec_is_well_formed"}
