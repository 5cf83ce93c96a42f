"""``trainer_log.jsonl``: one line of numbers per log event, in the form that tools around flat configurations read."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith.runtime.durable_files import write_text

LOG_FILE = "trainer_log.jsonl"
#: trainer's name → the name in the file, in the order in which they are written.
MEASURES = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "accuracy": "accuracy",
    "eval_accuracy": "eval_accuracy",
    "reward": "reward",
}


class ProgressLog(TrainerCallback):
    """Appends to ``trainer_log.jsonl``; on resume, lines after the checkpoint's step are taken back first."""

    def __init__(self, output_dir: Path) -> None:
        self.file = output_dir / LOG_FILE
        self.started = time.monotonic()
        self.first_step = 0
        self.first_tokens = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep what the log says up to the step at which training (re)starts."""
        self.started, self.first_step, self.first_tokens = time.monotonic(), state.global_step, state.num_input_tokens_seen
        if state.is_world_process_zero:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, "".join(line for line in self._lines() if _step(line) <= state.global_step))

    def _lines(self) -> list[str]:
        return self.file.read_text(encoding="utf-8").splitlines(keepends=True) if self.file.is_file() else []

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write one line when there is something to measure."""
        line = {name: logs[key] for key, name in MEASURES.items() if logs and key in logs}
        if not state.is_world_process_zero or not line or not logs:
            return
        line = {"current_steps": state.global_step, "total_steps": state.max_steps, **line}
        line |= {name: logs[key] for key, name in (("learning_rate", "lr"), ("epoch", "epoch")) if key in logs}
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**line, **self._pace(state)}) + "\n")

    def _pace(self, state: TrainerState) -> dict[str, Any]:
        elapsed = time.monotonic() - self.started
        done = state.global_step - self.first_step
        left = elapsed / done * (state.max_steps - state.global_step) if done else 0.0
        pace: dict[str, Any] = {
            "percentage": round(100 * state.global_step / state.max_steps, 2) if state.max_steps else 100.0,
            "elapsed_time": str(timedelta(seconds=int(elapsed))),
            "remaining_time": str(timedelta(seconds=int(left))),
        }
        if seen := state.num_input_tokens_seen:
            pace |= {"throughput": round((seen - self.first_tokens) / max(elapsed, 1e-9), 2), "total_tokens": int(seen)}
        return pace


def _step(line: str) -> int:
    """The step of a line; a line that a crash cut short counts as after everything."""
    try:
        return int(json.loads(line)["current_steps"])
    except (ValueError, KeyError, TypeError):
        return 2**63
