"""Peak memory and step time of what saves memory, against the plain run: ``python benchmarks/accelerators.py``.

A model with a large vocabulary and few layers, in float32 on the processor: logits are what takes memory. Each variant is
a process of its own; peak memory is the highest resident set less that before the first step. Step times are medians of
processor time, so that other work on the machine counts little.

    python benchmarks/accelerators.py                                # about three minutes
    python benchmarks/accelerators.py --only chunked_cross_entropy
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "chunked_cross_entropy": {"chunked_cross_entropy": True, "cross_entropy_chunk": 256},
    "gradient checkpointing": {"disable_gradient_checkpointing": False},
    "both": {"chunked_cross_entropy": True, "cross_entropy_chunk": 256, "disable_gradient_checkpointing": False},
}
SIZES = {
    "vocab_size": 64000,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 8,
    "max_position_embeddings": 2048,
}
ROWS, LENGTH, STEPS = 2, 1024, 4


def one(keys: dict[str, Any]) -> dict[str, Any]:
    """Train in this process and measure."""
    from tunesmith.testing.small_run import (
        SmallStore,
        small_losses,
        small_model,
        small_plan,
        small_plugins,
        small_rows,
        small_session,
    )

    folder = Path(tempfile.mkdtemp())
    small_model(folder / "model", **SIZES)
    plugins = small_plugins(sft="tunesmith_sft.plugin", cross="tunesmith_cross_entropy.plugin")
    picked = {"accelerators": "cross-entropy"} if "chunked_cross_entropy" in keys else {}
    given = {"per_device_train_batch_size": ROWS, "max_steps": STEPS, "optim": "sgd", **keys}
    plan = small_plan(folder, plugins, "sft", picked=picked, **given)
    session = small_session(plan, plugins, SmallStore(small_rows(ROWS * STEPS, lengths=(LENGTH, LENGTH))))
    before, times = _peak(), []
    session.plugins.step_ended = lambda *_: times.append(time.process_time())  # type: ignore[method-assign]
    session.trainer.run(session)
    steps = [later - earlier for earlier, later in pairwise(times)]
    return {"memory": _peak() - before, "step": statistics.median(steps), "losses": small_losses(session)}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Every variant, and its ratios to the plain run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(VARIANTS), nargs="*", default=list(VARIANTS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.measure:
        print(json.dumps(one(VARIANTS[wanted.measure])))
        return
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(("plain", *wanted.only)):
        command = [sys.executable, __file__, "--measure", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    plain = found["plain"]
    print(f"{'':24}{'memory':>10}{'of plain':>10}{'step':>9}{'of plain':>10}{'loss differs by':>17}")
    for name, one_found in found.items():
        apart = max(abs(a - b) for a, b in zip(one_found["losses"], plain["losses"], strict=True))
        memory, step = one_found["memory"] / 2**20, one_found["step"]
        ratios = one_found["memory"] / plain["memory"], step / plain["step"]
        print(f"{name:24}{memory:>6.0f} MiB{ratios[0]:>10.2f}{step:>7.2f} s{ratios[1]:>10.2f}{apart:>17.1e}")


if __name__ == "__main__":
    main()
