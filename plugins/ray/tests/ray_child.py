"""``tunesmith.worker`` for a small plan: rows come from memory instead of files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tunesmith import launch, worker
from tunesmith.plan import Plan
from tunesmith.testing.small_run import SmallStore, small_plugins, small_rows, small_session


def work(plan: Plan, say: Any) -> int:
    """The real road from the session on. In the first start the second process dies where the plan says so."""
    import os

    from transformers import TrainerCallback

    class Dies(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                os._exit(9)

    session = small_session(plan, small_plugins(ray="tunesmith_ray.plugin"), SmallStore(small_rows(32)))
    if plan["run_name"] == "dies":
        session.callbacks = (Dies(),)
    outcome = session.trainer.run(session)
    place = Path(plan["output_dir"]) / f"node-{os.environ['RANK']}"
    place.write_text(os.environ["RAY_RAYLET_PID"])  # one for each machine of the cluster
    return launch.status_of(outcome)


if __name__ == "__main__":
    launch.work = work
    sys.exit(worker.main(sys.argv[1:]))
