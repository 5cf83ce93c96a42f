"""A stage for tests of launchers: every process says that it is there, and does what the key ``run_name`` says.

=========  ====================================================================================
``count``  add up the numbers of all processes, and end
``fail``   the last process fails, while the others wait for it
``die``    the last process is killed, while the others wait for it
``mistake`` the last process finds a mistake of the user's
``wait``   until a signal comes
=========  ====================================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import TrainerSpec, TunesmithError, hookimpl, launch
from tunesmith.contracts import Outcome, Trainer
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins

if TYPE_CHECKING:
    from tunesmith.runtime.session import Session

ROLL_CALL = TrainerSpec("roll-call", f"{__name__}:RollCall", "Say that you are there, for tests.", wants=("conversation",))


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """One stage."""
    return [ROLL_CALL]


class RollCall(Trainer):
    """Learns nothing."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def run(self, session: Session) -> Outcome:
        """Leave word, and do the task."""
        from tunesmith.runtime.interruption import Interruption

        interruption = Interruption()
        with interruption.listening():
            rank, world = session.args.process_index, session.args.world_size
            self._say(rank, world, self._sum(session, rank + 1))
            task, last = self.plan["run_name"], rank == world - 1
            if task == "wait":
                while not interruption.reason:
                    time.sleep(0.05)
                (self._folder / f"ended-{rank}").touch()
                return Outcome(0, stopped=interruption.reason)
            if task != "count":
                self._end_badly(task) if last else self._sum(session, 0)
        return Outcome(1)

    @property
    def _folder(self) -> Path:
        return Path(self.plan["output_dir"]).parent

    def _say(self, rank: int, world: int, total: int) -> None:
        plan = hashlib.sha256(self.plan.to_json(secrets=True).encode()).hexdigest()
        facts = {"rank": rank, "world": world, "sum": total, "plan": plan}
        staging = self._folder / f".present-{rank}"
        staging.write_text(json.dumps(facts), encoding="utf-8")
        staging.rename(self._folder / f"present-{rank}.json")

    def _end_badly(self, task: str) -> None:
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "mistake":
            raise TunesmithError("Here there is a mistake.", "Mend it.")
        raise RuntimeError("the last one gives up")

    @staticmethod
    def _sum(session: Session, number: int) -> int:
        import torch
        import torch.distributed as dist

        total = torch.tensor([number])
        if session.args.world_size > 1:
            dist.all_reduce(total)
        return int(total)


def main(words: list[str]) -> int:
    """Start the processes of a plan by its launcher, as ``tunesmith train`` would once the plan is ready."""
    plan = Plan.read(Path(words[0]))
    plugins = Plugins(without=plan.without, only=plan.only, local=Path(plan.local or ""))
    launcher: Any = plugins.launchers.get(plan.the("launchers").wanted).load()(plan)
    try:
        status: int = launcher.spread(plan, launch.work)
    except TunesmithError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
