"""The launcher of a small plan, in a process of its own; its workers run ``work_small.py``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tunesmith.plan import Plan
from tunesmith.runtime.torchrun import TorchrunLauncher

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    plan = replace(Plan.read(folder / "plan.json"), local=str(folder))
    launcher = TorchrunLauncher(plan)
    launcher.module = "work_small"
    sys.exit(launcher.spread(plan, lambda same: 0))
