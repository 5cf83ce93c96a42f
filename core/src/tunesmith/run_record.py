"""``run.json`` in an output folder: that a run was begun there, with what, and how it ended. Reading it imports no torch."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunesmith.values import from_plain

FILE = "run.json"
SCHEMA = 1
Status = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """One run. Times are UTC in ISO form.

    :param status: ``stopped`` by a signal, ``failed`` by an error; a process that was killed leaves ``running``.
    :param process: its process number on ``host``, and ``born``, when that process began, to tell it from a later one.
    :param versions: Python, Tunesmith and the libraries that numbers depend on.
    :param plugins: name → distribution and version of every plugin that was loaded.
    :param fingerprints: hashes of data, model, template, tokenizer and tuner.
    :param seeds: ``seed`` and ``data_seed``.
    :param resumed_from: the checkpoint it went on from.
    :param ended_by: the signal or the error that ended it.
    """

    status: Status
    started: str
    host: str
    process: int
    born: str = ""
    ended: str = ""
    steps: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int | None] = field(default_factory=dict)
    resumed_from: str = ""
    ended_by: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """As text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def read_record(folder: Path) -> RunRecord | None:
    """The record in an output folder; ``None`` where there is none, or one of another schema."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        plain: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if plain.pop("schema") != SCHEMA:
            return None
        record: RunRecord = from_plain(RunRecord, plain)
    except (ValueError, KeyError, TypeError):
        return None
    return record


def this_process() -> dict[str, Any]:
    """``host``, ``process`` and ``born`` of this process."""
    return {"host": platform.node(), "process": os.getpid(), "born": born(os.getpid())}


def born(process: int) -> str:
    """When a process began, as a word that differs for the next one of its number; empty where that cannot be known."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[19]


def lives(record: RunRecord) -> bool:
    """Whether the process of a record that says ``running`` is still there; of another machine's nothing can be known."""
    if record.host != platform.node():
        return True
    now = born(record.process)
    return bool(now) and now == record.born
