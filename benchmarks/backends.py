"""What the backend object itself costs in each step: ``python benchmarks/backends.py``.

A small model is trained on the processor; every call of the backend's verbs is timed in processor time of its thread, and
compared with the processor time of the whole step. A checkpoint is written every few steps, so that random states count too.
The run is made three times, and the one with the median share counts: a minute or two on two cores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

#: The share of a step's processor time that the backend may take.
TARGET = 0.01
ROWS, LENGTH, STEPS, SAVE_EVERY, ROUNDS = 4, 256, 20, 5, 3
SIZES = {
    "vocab_size": 8192,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "max_position_embeddings": 512,
}


class Timed:
    """A backend whose calls are counted and timed."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.calls: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(self._backend, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return verb(*arguments, **options)
            finally:
                self.calls[name] += 1
                self.seconds[name] += time.thread_time() - start

        return timed


def run(folder: Path) -> tuple[Timed, float]:
    """Train, and give the timed backend and the processor time of the whole run after loading."""
    from tunesmith.testing.small_run import SmallStore, small_model, small_plan, small_plugins, small_rows, small_session

    small_model(folder / "model", **SIZES)
    plugins = small_plugins(sft="tunesmith_sft.plugin", cpu="tunesmith_cpu.plugin")
    keys = {"per_device_train_batch_size": ROWS, "max_steps": STEPS, "save_strategy": "steps", "save_steps": SAVE_EVERY}
    plan = small_plan(folder, plugins, "sft", picked={"backends": "cpu"}, **keys)
    session = small_session(plan, plugins, SmallStore(small_rows(ROWS * STEPS, lengths=(LENGTH, LENGTH))))
    session.backend = timed = Timed(session.backend)  # type: ignore[assignment]
    start = time.process_time()
    session.trainer.run(session)
    return timed, time.process_time() - start


def main() -> int:
    """Every verb that was called, and the share of all."""
    shares, runs = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            timed, whole = run(Path(folder))
        runs.append((timed, whole))
        shares.append(sum(timed.seconds.values()) / whole)
    share = median(shares)
    timed, whole = runs[shares.index(share)]
    print(f"Median of {ROUNDS} runs: {STEPS} steps of {whole / STEPS * 1000:.0f} ms, a checkpoint every {SAVE_EVERY}")
    for name, seconds in timed.seconds.most_common():
        print(f"{name:16}{timed.calls[name]:>5} calls{seconds / STEPS * 1e6:>9.1f} µs a step{seconds / whole:>10.4%}")
    print(f"{'all':16}{sum(timed.calls.values()):>5} calls{share * whole / STEPS * 1e6:>9.1f} µs a step{share:>10.4%}")
    print("target met" if share <= TARGET else f"target missed: at most {TARGET:.0%}")
    return int(share > TARGET)


if __name__ == "__main__":
    sys.exit(main())
