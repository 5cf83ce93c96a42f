"""A training run in a process of its own, for the tests that signal, kill or starve it.

``python runtime_child.py FOLDER KEYS_AS_JSON [STARVE]`` trains the small stage and prints the outcome or the error.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from tunesmith.errors import TunesmithError
from tunesmith.runtime.checkpoint import checkpoints_in, trouble_with
from tunesmith.testing.small_run import SmallStore, small_plan, small_plugins, small_rows, small_session


class Slow(TrainerCallback):
    """Gives a signal time to arrive."""

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(0.05)


def main(folder: Path, keys: dict[str, Any]) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    plugins = small_plugins()
    plan = small_plan(folder, plugins, "small", **keys)
    session = small_session(plan, plugins, SmallStore(small_rows(80)))
    session.callbacks = (Slow(),)
    print("ready", flush=True)
    try:
        outcome = session.trainer.run(session)
    except TunesmithError as error:
        found = checkpoints_in(session.output_dir)
        print(json.dumps({"error": error.message, "hint": error.hint, "troubles": [trouble_with(path) for path in found]}))
        print(json.dumps([path.name for path in session.output_dir.iterdir()]))
        return 2
    print(json.dumps({"steps": outcome.steps, "stopped": outcome.stopped}), flush=True)
    return 130 if outcome.stopped else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
