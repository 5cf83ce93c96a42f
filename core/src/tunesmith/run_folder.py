"""Where the processes of one machine find their plan and say how they ended: a private folder for each start of a run.

==================  ====================================================================================
``plan.json``       the plan, put there in one piece once data and models are ready
``pid-<rank>``      a process is at work and can be signalled
``stop``            the run is to end: who starts only now ends at once
``end-<rank>.json`` how a process ended: its exit status, and what went wrong first
==================  ====================================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan

PLAN, STOP = "plan.json", "stop"
#: Seconds between two looks for the plan.
LOOK = 0.1


@dataclass(frozen=True)
class End:
    """How one process ended. ``trace`` is empty for a user's mistake, which is said without one."""

    rank: int
    status: int
    time: float
    message: str = ""
    hint: str = ""
    trace: str = ""


@dataclass(frozen=True)
class RunFolder:
    """One such folder, which only this user can read: the plan in it holds the run's secrets."""

    path: Path

    @classmethod
    def new(cls) -> RunFolder:
        """A folder for processes that are about to be started."""
        return cls(Path(tempfile.mkdtemp(prefix="tunesmith-run-")))

    @classmethod
    def shared(cls, environ: Mapping[str, str]) -> RunFolder:
        """The folder that processes which another launcher started on this machine agree on without a word.

        :raises TunesmithError: somebody else has made it.
        """
        stat = Path(f"/proc/{os.getppid()}/stat")  # when the launcher started, since numbers of processes come again
        started = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19] if stat.is_file() else ""
        told = [environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")]
        restart = environ.get("TORCHELASTIC_RESTART_COUNT", "")
        who = json.dumps([os.getppid(), started, *told, restart])
        name = f"tunesmith-run-{os.getuid()}-{hashlib.sha256(who.encode()).hexdigest()[:16]}"
        path = Path(tempfile.gettempdir(), name)
        path.mkdir(mode=0o700, exist_ok=True)
        facts = path.lstat()
        if path.is_symlink() or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            raise TunesmithError(f"{path} was made by somebody else.", "Remove it, or set TMPDIR to a folder of your own.")
        return cls(path)

    # -- the plan ------------------------------------------------------------------------------------------------------

    def publish(self, plan: Plan) -> None:
        """Let everybody have the plan."""
        staging = self.path / f".{PLAN}"
        staging.touch(mode=0o600)
        staging.write_text(plan.to_json(secrets=True), encoding="utf-8")
        staging.rename(self.path / PLAN)

    @property
    def published(self) -> bool:
        """Whether the plan is there."""
        return (self.path / PLAN).is_file()

    def wait_for_plan(self) -> Plan | None:
        """The plan once it is there, or ``None`` when whoever makes it has failed, and has said why."""
        while not self.published:
            if any(end.status for end in self.ends()) or not self.path.is_dir():
                return None
            time.sleep(LOOK)
        return Plan.read(self.path / PLAN)

    # -- signals -------------------------------------------------------------------------------------------------------

    def enter(self, rank: int) -> bool:
        """Say that this process is at work; false when the run is already to end."""
        (self.path / f"end-{rank}.json").unlink(missing_ok=True)  # of an earlier start of the same run
        (self.path / f"pid-{rank}").write_text(str(os.getpid()), encoding="ascii")
        return not (self.path / STOP).exists()

    def signal(self, number: int) -> None:
        """Pass a signal on to every process that is at work, and see that no further one starts."""
        (self.path / STOP).touch()
        for file in self.path.glob("pid-*"):
            try:
                os.kill(int(file.read_text(encoding="ascii") or 0), signal.Signals(number))
            except (ProcessLookupError, ValueError):
                continue  # it has ended, or is about to look for the mark

    # -- how it ended --------------------------------------------------------------------------------------------------

    def leave(self, rank: int, status: int, error: BaseException | None = None) -> None:
        """Leave word of the end of this process."""
        message, hint, trace = "", "", ""
        if isinstance(error, TunesmithError):
            message, hint = error.message, error.hint
        elif error is not None:
            message = f"{type(error).__name__}: {error}"
            trace = "".join(traceback.format_exception(error))
        self.keep(End(rank, status, time.time(), message, hint, trace))

    def keep(self, end: End) -> None:
        """Leave word of the end of a process, be it on another machine."""
        (self.path / f"pid-{end.rank}").unlink(missing_ok=True)
        staging = self.path / f".end-{end.rank}"
        staging.write_text(json.dumps(asdict(end)), encoding="utf-8")
        staging.rename(self.path / f"end-{end.rank}.json")

    def ends(self) -> list[End]:
        """What was left so far, the earliest first."""
        found = [End(**json.loads(file.read_text(encoding="utf-8"))) for file in self.path.glob("end-*.json")]
        return sorted(found, key=lambda end: end.time)

    def remove(self) -> None:
        """The run is over."""
        shutil.rmtree(self.path, ignore_errors=True)
