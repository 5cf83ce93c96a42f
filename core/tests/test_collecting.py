"""What is imported is not scanned again; what was made before an import of nothing new still is."""

from __future__ import annotations

import gc
import importlib
import sys
import weakref

from tunesmith.collecting import collector_paused, importing


class Knot:
    """Something that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_the_collector_waits_and_goes_on() -> None:
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_library_that_was_imported_is_frozen() -> None:
    gc.unfreeze()
    sys.modules.pop("xml.sax.expatreader", None)
    with importing():
        importlib.import_module("xml.sax.expatreader")
    assert gc.get_freeze_count() > 0
    gc.unfreeze()


def test_garbage_is_collected_where_nothing_was_imported() -> None:
    gc.unfreeze()
    knot = weakref.ref(Knot())
    with importing():
        pass
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert knot() is None
