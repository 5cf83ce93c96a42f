"""Keeps ``run.json`` true while a run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tunesmith.run_record import FILE, RunRecord, this_process
from tunesmith.runtime.durable_files import write_text
from tunesmith.runtime.output_lock import held
from tunesmith.runtime.versions import versions

if TYPE_CHECKING:
    from tunesmith.contracts import Outcome
    from tunesmith.runtime.session import Session


class Recording:
    """The record of one run, written by its first process."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._record = RunRecord(
            status="running",
            started=_now(),
            versions=versions(),
            plugins={name: f"{owner.distribution} {owner.version}" for name, owner in session.plugins.owners.items()},
            fingerprints=session.fingerprints,
            seeds={"seed": session.args.seed, "data_seed": session.args.data_seed},
            resumed_from=str(session.resume.folder) if session.resume else "",
            **this_process(),
        )

    def write(self, **changes: Any) -> None:
        """Write the record, with some fields changed."""
        self._record = replace(self._record, **changes)
        if self._session.args.should_save:
            self._session.output_dir.mkdir(parents=True, exist_ok=True)
            write_text(self._session.output_dir / FILE, self._record.to_json())

    def end(self, outcome: Outcome) -> None:
        """How it ended."""
        status = "stopped" if outcome.interrupted else "finished"
        metrics = {name: float(value) for name, value in outcome.metrics.items()}
        self.write(status=status, ended=_now(), steps=outcome.steps, ended_by=outcome.stopped, metrics=metrics)


@contextmanager
def recorded(session: Session) -> Iterator[Recording]:
    """Within it the run counts as running and nobody else may write its folder; an error that leaves it is written down.

    :raises TunesmithError: another run writes the folder.
    """
    recording = Recording(session)
    with held(session.output_dir) if session.args.process_index == 0 else nullcontext():
        recording.write()
        try:
            yield recording
        except BaseException as error:
            reason = str(error).strip().partition("\n")[0]
            recording.write(status="failed", ended=_now(), ended_by=f"{type(error).__name__}: {reason}")
            raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
