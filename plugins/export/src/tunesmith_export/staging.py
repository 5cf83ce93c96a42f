"""A folder that is there in full or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunesmith import TunesmithError
from tunesmith.runtime.durable_files import disk_troubles, sync, sync_tree

from tunesmith_export.checks import folder_trouble, standing


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A new folder on the same disk, which becomes ``target`` when all went well and is removed when anything did not.

    :raises TunesmithError: ``target`` has come to hold something, or the disk will not take it.
    """
    target = target.resolve()
    draft = standing(target) / f".{target.name}.staging-{os.getpid()}"
    with disk_troubles(f"Writing {target}", "Nothing was left behind; make room or give another export_dir."):
        draft.mkdir()
        try:
            yield draft
            sync_tree(draft)
            if trouble := folder_trouble(target):
                raise TunesmithError(f"Meanwhile {trouble}.", "Export into another folder.")
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(target)
            sync(target.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
