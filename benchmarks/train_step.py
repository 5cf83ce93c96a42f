"""What a training step costs beyond forward, backward and optimizer: our trainer against a bare loop.

Same model, same packed batches, bfloat16 with gradient checkpointing, one thread; processor time, median over steps, the first
few left out. The two run one after the other in each round, and the best round of each counts.

    python benchmarks/train_step.py                      # 8 million parameters, 30 steps, about two minutes
    python benchmarks/train_step.py --size 25 --steps 100
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

import numpy as np
import torch
from tunesmith.data.conversation import Tokens
from tunesmith.runtime.collate import Collator, Rows
from tunesmith.testing.small_run import SmallStore, small_model, small_plan, small_plugins, small_session

WARM_UP = 5
#: Millions of parameters → width, layers, tokens in a row.
SIZES = {8: (256, 6, 512), 25: (512, 6, 1024)}
VOCABULARY = 4096


def rows(count: int, length: int) -> SmallStore:
    """Packs of four documents each."""
    generator = np.random.default_rng(0)
    starts = [0, length // 5, length // 2, length - 17]
    weights = np.ones(length, np.float32)
    packs = [{"tokens": Tokens(generator.integers(5, VOCABULARY, length), weights), "starts": starts} for _ in range(count)]
    return SmallStore(packs, packed=True)


class Clock:
    """Processor time of whole steps, and of what in them is forward, backward and optimizer."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.work: list[float] = []
        self._inside = 0.0
        self._last = time.process_time()

    def tick(self) -> None:
        """A step is over."""
        now = time.process_time()
        self.steps.append(now - self._last)
        self.work.append(self._inside)
        self._last, self._inside = now, 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        """What runs within counts as work."""
        begun = time.process_time()
        yield
        self._inside += time.process_time() - begun

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` as work."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.working():
                return function(*args, **kwargs)

        return wrapped

    @property
    def step(self) -> float:
        """Median of a step, in seconds."""
        return statistics.median(self.steps[WARM_UP:])

    @property
    def outside(self) -> float:
        """Median share of a step that is not work."""
        return statistics.median(1 - work / step for work, step in zip(self.work[WARM_UP:], self.steps[WARM_UP:], strict=True))


def opened(folder: Path, tuner: str, store: SmallStore) -> Any:
    """A session on the model in ``folder``."""
    plugins = small_plugins(sft="tunesmith_sft.plugin", full="tunesmith_full.plugin", lora="tunesmith_lora.plugin")
    keys: dict[str, Any] = {"bf16": True, "disable_gradient_checkpointing": False, "use_reentrant_gc": False}
    keys |= {"per_device_train_batch_size": 1, "learning_rate": 1e-4, "disable_shuffling": True, "logging_steps": 10}
    plan = small_plan(folder, plugins, "sft", picked={"tuners": tuner}, **keys, overwrite_output_dir=True)
    return small_session(plan, plugins, store)


def ours(folder: Path, tuner: str, store: SmallStore) -> Clock:
    """The stage ``sft``."""
    return timed(opened(folder, tuner, store))


def timed(session: Any) -> Clock:
    """Train a session to its end and close it."""
    clock = Clock()
    trainer = session.trainer.trainer(session)
    create, step_ended = trainer.create_optimizer, session.plugins.step_ended

    def create_optimizer(*args: Any) -> Any:
        optimizer = create(*args)
        optimizer.step = clock.wrap(optimizer.step)
        return optimizer

    def ended(session: Any, step: int) -> None:
        step_ended(session, step)
        clock.tick()

    trainer.create_optimizer = create_optimizer
    trainer.compute_loss = clock.wrap(trainer.compute_loss)
    if hasattr(trainer, "look_over"):  # passes before the first batch of a step
        trainer.look_over = clock.wrap(trainer.look_over)
    trainer._clip_grad_norm = clock.wrap(trainer._clip_grad_norm)
    trainer.accelerator.backward = clock.wrap(trainer.accelerator.backward)
    session.plugins.step_ended = ended
    trainer.train()
    session.close()
    return clock


def bare(folder: Path, tuner: str, store: SmallStore) -> Clock:
    """The loop that anybody would write by hand, on a model that was prepared in the same way."""
    session = opened(folder, tuner, store)
    model = session.models["policy"].train()
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    learns = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learns, lr=1e-4, weight_decay=0.0, fused=True)
    loader = torch.utils.data.DataLoader(Rows(store), batch_size=1, collate_fn=Collator(0, packed=True))  # type: ignore[arg-type]
    clock = Clock()
    for batch in loader:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learns, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
    session.close()
    return clock


def compare(size: int, tuner: str, steps: int, rounds: int) -> dict[str, float]:
    """Rounds of both on one model."""
    width, layers, length = SIZES[size]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers, "num_attention_heads": 8}
        small_model(folder / "model", vocab_size=VOCABULARY, num_key_value_heads=8, max_position_embeddings=length, **shape)
        store = rows(steps + WARM_UP, length)
        clocks = [(bare(folder, tuner, store), ours(folder, tuner, store)) for _ in range(rounds)]
    by_hand, by_us = (min(one.step for one in kind) for kind in zip(*clocks, strict=True))
    outside = min(clock.outside for _, clock in clocks)
    return {"bare_ms": 1000 * by_hand, "ours_ms": 1000 * by_us, "ratio": by_us / by_hand, "outside": outside}


def main() -> int:
    """Print one line for each tuner; status 1 when more than ``--limit`` of a step is not work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, choices=sorted(SIZES), default=8, help="millions of parameters")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tuner", choices=("full", "lora"), nargs="*", default=["full", "lora"])
    parser.add_argument("--limit", type=float, default=0.03, help="largest share of a step that may not be work")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    found = {tuner: compare(wanted.size, tuner, wanted.steps, wanted.rounds) for tuner in wanted.tuner}
    for tuner, one in found.items():
        print(
            f"{tuner:5} bare {one['bare_ms']:.1f} ms  ours {one['ours_ms']:.1f} ms  ratio {one['ratio']:.3f}"
            f"  outside forward, backward and optimizer {one['outside']:.1%}"
        )
    print(json.dumps(found))
    return int(any(one["outside"] > wanted.limit for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
