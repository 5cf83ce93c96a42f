"""When Python's cycle collector had better wait.

It scans all live objects whenever enough new ones have been made. Imports of torch and transformers, and a block of rows, make
millions that stay and hold no cycles: scanning them again and again takes a sixth of the time.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

atexit.register(gc.unfreeze)  # libraries with bindings complain of what is never freed


@contextmanager
def collector_paused() -> Iterator[None]:
    """Do something that makes many objects, without scanning them meanwhile."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """Import large libraries. What they leave behind lives as long as the process and is not scanned later either.

    Where nothing new is imported nothing is frozen, since garbage that waits to be collected would stay for good.
    """
    before = len(sys.modules)
    with collector_paused():
        yield
        if len(sys.modules) > before:
            gc.freeze()
