"""The launcher that stays in the process it was called in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tunesmith.contracts import Launcher

if TYPE_CHECKING:
    from tunesmith.plan import Plan


class PlainLauncher(Launcher):
    """One process: this one."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def spread(self, plan: Plan, work: Callable[[Plan], int]) -> int:
        """Do the work here."""
        return work(plan)
