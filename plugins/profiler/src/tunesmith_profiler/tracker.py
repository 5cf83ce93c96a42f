"""torch's profiler around training steps, https://docs.pytorch.org/docs/stable/profiler.html.

Each cycle writes a trace that https://ui.perfetto.dev and ``chrome://tracing`` show, and a table of what took longest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule, supported_activities
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback
from tunesmith.contracts import Tracker
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan

from tunesmith_profiler.options import ProfilerOptions

log = logging.getLogger(__name__)
#: Lines of the table.
LINES = 30


class ProfilerTracker(Tracker):
    """Records some steps of the process it is in."""

    def __init__(self, plan: Plan) -> None:
        self.options = plan.options(ProfilerOptions)
        self._callback: Recording | None = None

    def callback(self) -> Recording:
        """What starts, steps and stops the profiler."""
        self._callback = Recording(self.options)
        return self._callback

    def close(self) -> None:
        """Stop recording, also in a run that broke off."""
        if self._callback is not None:
            self._callback.stop()


class Recording(TrainerCallback):
    """From the first step on; a step is what lies between two ends of steps."""

    def __init__(self, options: ProfilerOptions) -> None:
        self.options = options
        self._profile: Any = None
        self._hooks: list[RemovableHandle] = []
        self._place = Path()

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Begin to count steps.

        :raises TunesmithError: no module has a name that ``profile_modules`` asks for.
        """
        folder = Path(self.options.profiler_output_dir or Path(args.output_dir, "profiler"))
        folder.mkdir(parents=True, exist_ok=True)
        self._place = folder / f"rank{args.process_index}"
        self._hooks = list(name_modules(model, self.options.profile_modules))
        options = self.options
        cycle = schedule(
            wait=options.profiler_wait_steps,
            warmup=options.profiler_warmup_steps,
            active=options.profiler_active_steps,
            repeat=options.profiler_repeat,
        )
        self._profile = profile(
            activities=supported_activities(),
            schedule=cycle,
            on_trace_ready=self._write,
            record_shapes=options.profiler_record_shapes,
            profile_memory=options.profiler_profile_memory,
            with_stack=options.profiler_with_stack,
            acc_events=True,
        )
        self._profile.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One step more."""
        if self._profile is not None:
            self._profile.step()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What was recorded is written."""
        self.stop()

    def stop(self) -> None:
        """End the recording. Safe to call twice."""
        running, self._profile = self._profile, None
        if running is not None:
            running.stop()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _write(self, found: Any) -> None:
        stem = f"{self._place.name}-step{found.step_num}"
        trace, table = (self._place.with_name(f"{stem}{end}") for end in (".json.gz", ".txt"))
        found.export_chrome_trace(str(trace))
        devices = [one for one in supported_activities() if one is not ProfilerActivity.CPU]
        order = f"self_{devices[0].name.lower()}_time_total" if devices else "self_cpu_time_total"
        table.write_text(found.key_averages().table(sort_by=order, row_limit=LINES), encoding="utf-8")
        log.info("Wrote the profile %s and its table %s.", trace, table.name)


def name_modules(model: torch.nn.Module, patterns: tuple[str, ...]) -> Iterator[RemovableHandle]:
    """Let the forward passes of modules show in a profile under their own names.

    :param patterns: shell patterns of dotted names.
    :raises TunesmithError: one fits no module.
    """
    names = dict(model.named_modules())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise TunesmithError(f"profile_modules: no module of the model is called {pattern}.", "Write *.mlp, for instance.")
    for name, module in names.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            yield from _named(module, name)


def _named(module: torch.nn.Module, name: str) -> Iterator[RemovableHandle]:
    running: list[Any] = []

    def begin(*_: Any) -> None:
        running.append(record_function(name))
        running[-1].__enter__()

    def end(*_: Any) -> None:
        running.pop().__exit__(None, None, None)

    yield module.register_forward_pre_hook(begin)
    yield module.register_forward_hook(end, always_call=True)
