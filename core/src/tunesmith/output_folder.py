"""Whether an output folder may be written to: it may not hold another run unless the user says what to do with that.

Nothing here imports torch, so that planning can ask before anything expensive starts.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.errors import Problem
from tunesmith.run_record import lives, read_record

#: What a run leaves behind; any of these means that the folder holds one.
RUN_FILES = (
    "trainer_state.json",
    "trainer_log.jsonl",
    "all_results.json",
    "train_results.json",
    "adapter_config.json",
    "plan.json",
)
RUN_PATTERNS = ("*.safetensors", "*.bin", "*.safetensors.index.json")
CHECKPOINT = re.compile(r"checkpoint-\d+")
#: How the names of folders begin that are being written.
STAGING = ".staging-"
#: What to do about a folder that is being written.
WAIT = "Wait for it, end it (Ctrl-C or SIGTERM writes a checkpoint), or give another folder."


def run_entries(folder: Path) -> list[Path]:
    """What a run has left in ``folder``: checkpoints, weights, logs and results, sorted by name."""
    if not folder.is_dir():
        return []
    found = {file for name in RUN_FILES if (file := folder / name).is_file() and file.stat().st_size}
    found |= {path for pattern in RUN_PATTERNS for path in folder.glob(pattern)}
    found |= {path for path in folder.iterdir() if path.is_dir() and CHECKPOINT.fullmatch(path.name)}
    return sorted(found)


def remove_run(folder: Path) -> None:
    """Remove what a run has left in ``folder``, and nothing else: ``overwrite_output_dir: true`` asked for it."""
    for entry in run_entries(folder):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def in_use(folder: Path) -> str:
    """Which process of this machine is at work on a run in ``folder``; empty when none is."""
    record = read_record(folder)
    if record is None or record.status != "running" or record.host != platform.node() or not lives(record):
        return ""
    return f"{folder} is being written by process {record.process}, a run that began at {record.started}"


def check_output_folder(value: Callable[[str], Any], origin: str) -> Problem | None:
    """What speaks against training into the run's ``output_dir``.

    :param value: the value of a flat key, ``None`` where nobody declares it.
    :param origin: the place where ``output_dir`` was written.
    """
    folder = Path(str(value("output_dir"))).expanduser()
    resume, overwrite = value("resume_from_checkpoint"), value("overwrite_output_dir")
    if resume and overwrite:
        return Problem(origin, "resume_from_checkpoint and overwrite_output_dir contradict each other", "Keep one of them.")
    if (trouble := _cannot_write(folder)) is not None:
        return Problem(origin, f"output_dir: {trouble}", "Give a folder that this user may write to.")
    if busy := in_use(folder):
        return Problem(origin, f"output_dir: {busy}", WAIT)
    if overwrite and (source := _source_inside(value, folder)) is not None:
        return Problem(
            origin, f"output_dir: overwriting {folder} would remove {source}, which this run reads", "Give another folder."
        )
    if not value("do_train") or resume or overwrite or not (entries := run_entries(folder)):
        return None
    return Problem(
        origin,
        f"output_dir: {folder} already holds a run ({_some(entries)})",
        "Write resume_from_checkpoint: true to go on with it, overwrite_output_dir: true to replace it, or another folder.",
    )


def check_checkpoint(value: Callable[[str], Any], origin: str) -> Problem | None:
    """Whether there is something to resume from; whether it is whole is found when it is read.

    :param origin: the place where ``resume_from_checkpoint`` was written.
    """
    asked, folder = str(value("resume_from_checkpoint")), Path(str(value("output_dir"))).expanduser()
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    there = [name for name in names if CHECKPOINT.fullmatch(name)]
    if asked.lower() != "true":
        hint = f"{folder} holds {', '.join(there) or 'no checkpoint'}."
        here = Path(asked).expanduser().is_dir()
        return None if here else Problem(origin, f"resume_from_checkpoint: there is no folder {asked}", hint)
    if there or any(name.startswith(STAGING) for name in names):  # one that was being replaced gets its name back
        return None
    what = f"resume_from_checkpoint: {folder} holds no checkpoint"
    return Problem(origin, what, "Leave resume_from_checkpoint out to start from the beginning.")


def _source_inside(value: Callable[[str], Any], folder: Path) -> Path | None:
    """A model or adapter of the run that lies in the folder it is to overwrite."""
    names = [value("model_name_or_path"), *(value("adapter_name_or_path") or ())]
    sources = [Path(str(name)).expanduser().resolve() for name in names if name]
    return next((source for source in sources if source.is_dir() and source.is_relative_to(folder.resolve())), None)


def _cannot_write(folder: Path) -> str | None:
    place = folder
    while not place.exists() and place.parent != place:
        place = place.parent
    if not place.is_dir():
        return f"{place} is a file, not a folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"no permission to write into {place}"
    return None


def _some(entries: list[Path]) -> str:
    names = [entry.name for entry in entries[:3]]
    return ", ".join(names) + (f" and {len(entries) - 3} more" if len(entries) > 3 else "")
