"""The runs under a folder, as their output folders tell: status, last loss, what they were asked to do. Imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.model_folder import read_json
from tunesmith.output_folder import CHECKPOINT, run_entries
from tunesmith.run_record import RunRecord, lives, read_record

#: Keys that differ between any two runs and say nothing about what was done.
PLACES = ("output_dir", "logging_dir", "run_name", "overwrite_output_dir", "resume_from_checkpoint", "data_cache_dir")


@dataclass(frozen=True)
class PastRun:
    """One output folder. ``status`` is that of its record, or ``died`` for a run that says ``running`` and is not there.

    :param settings: the keys that the user gave, secrets masked.
    :param log: the lines of ``trainer_log.jsonl``.
    """

    folder: Path
    status: str
    record: RunRecord | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    log: Sequence[Mapping[str, Any]] = ()

    @property
    def step(self) -> int:
        """The last step that was logged, or that the record names."""
        logged = int(self.log[-1].get("current_steps", 0)) if self.log else 0
        return max(logged, self.record.steps if self.record else 0)

    @property
    def loss(self) -> float | None:
        """The last training loss that was logged."""
        return next((line["loss"] for line in reversed(self.log) if "loss" in line), None)


def find_runs(root: Path) -> list[PastRun]:
    """Every run below ``root``, the one that began last first.

    :raises TunesmithError: there is no such folder.
    """
    if not root.is_dir():
        raise TunesmithError(f"There is no folder {root}.", "Give the folder that holds your output folders.")
    found = [read_run(Path(folder)) for folder in _folders(root)]
    return sorted(found, key=lambda run: (run.record.started if run.record else "", str(run.folder)), reverse=True)


def _folders(root: Path) -> Iterator[str]:
    for folder, names, _ in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".") and not CHECKPOINT.fullmatch(name)]
        if is_run(Path(folder)):
            yield folder


def is_run(folder: Path) -> bool:
    """Whether a folder holds what a training run leaves."""
    return read_record(folder) is not None or any(entry.name.startswith("trainer_") for entry in run_entries(folder))


def read_run(folder: Path) -> PastRun:
    """One run.

    :raises TunesmithError: the folder holds none.
    """
    if not is_run(folder):
        hint = "Give the output folder of a run; tunesmith runs FOLDER lists those below a folder."
        raise TunesmithError(f"{folder} holds no run.", hint)
    record = read_record(folder)
    settings = {
        key: setting["value"]
        for key, setting in read_json(folder, "plan.json").get("settings", {}).items()
        if setting.get("given")
    }
    return PastRun(folder, _status(folder, record), record, settings, _log(folder))


def _status(folder: Path, record: RunRecord | None) -> str:
    if record is None:  # of a version, or a program, that keeps no record
        return "finished" if (folder / "all_results.json").is_file() else "unfinished"
    return "died" if record.status == "running" and not lives(record) else record.status


def _log(folder: Path) -> list[dict[str, Any]]:
    file = folder / "trainer_log.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # the last line of a run that is being killed
            continue
    return [line for line in found if isinstance(line, dict)]


def differences(runs: Sequence[PastRun]) -> dict[Path, dict[str, Any]]:
    """For each run the given keys whose values are not the same in all of them; what a run was not given is left out."""
    keys = {key for run in runs for key in run.settings if key not in PLACES}
    differing = [key for key in sorted(keys) if len({json.dumps(run.settings.get(key)) for run in runs}) > 1]
    return {run.folder: {key: run.settings[key] for key in differing if key in run.settings} for run in runs}


def history(run: PastRun) -> list[dict[str, Any]]:
    """What was measured at which step: of the finished run's state, else of its log so far; each entry has ``step``."""
    held = read_json(run.folder, "trainer_state.json").get("log_history")
    if held:
        return [dict(entry) for entry in held]
    return [{**line, "step": line["current_steps"]} for line in run.log if "current_steps" in line]
