"""``tunesmith.worker`` for a small plan: rows come from memory instead of files."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from tunesmith import launch, worker
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.testing.small_run import SmallStore, small_rows, small_session


def work(plan: Plan, say: Any) -> int:
    """The real road from the session on."""
    found = [EntryPoint("small", "tunesmith.testing.small_parts", "tunesmith")]
    plugins = Plugins(found=found, local=Path(plan.local or ""))
    session = small_session(plan, plugins, SmallStore(small_rows(64)))
    return launch.status_of(session.trainer.run(session))


if __name__ == "__main__":
    launch.work = work
    sys.exit(worker.main(sys.argv[1:]))
