"""A stage of this package over rows that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.runtime.session import Session
from tunesmith.testing.small_run import SmallStore, small_plan, small_plugins, small_session


def small_stage(stage: str, folder: Path, home: Path, rows: Any, evals: Any = None, **keys: Any) -> Session:
    """``stage`` with the model of ``home``, writing into ``folder``."""
    plugins = small_plugins(tested="tunesmith_preference.plugin")
    folder.mkdir(exist_ok=True)
    plan = small_plan(folder, plugins, stage, model_name_or_path=str(home / "model"), **keys)
    return small_session(plan, plugins, SmallStore(rows), evals or {})
