"""The suite that every launcher runs: real processes that meet, fail and are stopped, each in a small run of the real road."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from tunesmith import LauncherSpec
from tunesmith.plan import Plan, Spread
from tunesmith.plugins import LOCAL_FILE, Plugins
from tunesmith.spec import options_of
from tunesmith.specs import Scene
from tunesmith.testing.small_run import small_plan
from tunesmith.testing.spec_check import default_keys, option_faults, spec_faults
from tunesmith.testing.strategy_suite import called

#: What the processes know beside what is installed: the small parts, and the stage that they carry out.
LOCAL = "from tunesmith.testing.small_parts import *\nfrom tunesmith.testing.roll_call import *\n\nTUNESMITH_API = (1, 0)\n"
#: Seconds that a start of a few processes may take on a busy machine.
PATIENCE = 240
#: Seconds within which the others end once one has failed or died.
WITHIN = 60
#: By which the processes of a run are found.
MARK = "TUNESMITH_ROLL_CALL"


@dataclass(frozen=True)
class Ended:
    """How a start ended: its status, what it printed, who was present, and how long it took from when all were there."""

    status: int
    said: str
    present: tuple[Mapping[str, Any], ...]
    seconds: float
    left: tuple[int, ...]


class LauncherSuite:
    """That a launcher starts every process of a run with the very same plan, brings all down when one fails, and passes
    signals on.

    Set ``spec``, the ``keys`` that ask for it, and how many ``processes`` they make::

        class TestAcme(LauncherSuite):
            spec = ACME
            keys = {"use_acme": True, "acme_processes": 2}
            processes = 2

    Its package has to be installed, since processes of its own find it by its entry point. What they do is the stage
    :mod:`tunesmith.testing.roll_call`.
    """

    spec: ClassVar[LauncherSpec]
    keys: ClassVar[Mapping[str, Any]] = {}
    """Flat keys that ask for it."""
    processes: ClassVar[int] = 2
    local: ClassVar[str] = ""
    """Further lines of the plugin that lies beside the configuration."""
    environment: ClassVar[Mapping[str, str]] = {}
    """Further environment variables of whoever starts the processes."""

    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    # -- the runs ------------------------------------------------------------------------------------------------------

    def plan(self, folder: Path, task: str) -> Plan:
        """A run in which the processes do ``task``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCAL_FILE).write_text(LOCAL + self.local, encoding="utf-8")
        plugins = Plugins(local=folder)
        together = {"ddp_backend": "gloo"} if self.processes > 1 else {}
        keys = {**together, **self.keys, "run_name": task}
        plan = small_plan(folder, plugins, "roll-call", picked={"launchers": self.spec.name}, **keys)
        return replace(plan, spread=Spread(self.processes, self.processes), local=str(folder))

    def start(self, folder: Path, task: str) -> subprocess.Popen[str]:
        """The launcher in a process of its own."""
        (folder / "start").mkdir(parents=True)
        (folder / "start" / "plan.json").write_text(self.plan(folder, task).to_json(secrets=True), encoding="utf-8")
        command = [sys.executable, "-m", "tunesmith.testing.roll_call", str(folder / "start" / "plan.json")]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", MARK: str(folder), **self.environment}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=environ, start_new_session=True, **pipes)

    def ended(self, folder: Path, task: str, number: int = 0) -> Ended:
        """Start, wait until all are present, send a signal if there is one to send, and wait for the end."""
        process = self.start(folder, task)
        try:
            until = time.monotonic() + PATIENCE
            while len(there := present(folder)) < self.processes and process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
            since = time.monotonic()
            if number:
                process.send_signal(number)
            said, _ = process.communicate(timeout=WITHIN if there else PATIENCE)
            return Ended(process.returncode, said, present(folder), time.monotonic() - since, tuple(alive(folder)))
        finally:
            for pid in alive(folder):
                os.kill(pid, signal.SIGKILL)

    # -- what is declared ----------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line, and options are documented."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)

    def test_it_is_asked_for_by_its_keys_alone(self) -> None:
        """Its keys ask for it, and a run without any of them does not."""
        switch = self.spec.switch
        if switch is not None:
            assert self.keys.get(switch.key) == switch.value, f"{dict(self.keys)} does not ask for {self.spec.name}"
        if self.spec.when:
            assert called(self.spec.when, self.scene()), f"{dict(self.keys)} does not ask for {self.spec.name}"
            assert not called(self.spec.when, Scene(default_keys(self.spec).get, {})), "it is taken where nobody asks for it"

    def test_it_says_how_many_processes_there_will_be(self) -> None:
        """While planning, from the keys."""
        found = called(self.spec.processes, self.scene()) if self.spec.processes else 1
        assert found == self.processes

    def scene(self) -> Scene:
        """What planning tells it."""
        return Scene({**default_keys(self.spec), **self.keys}.get, dict(self.environment))

    # -- what it does --------------------------------------------------------------------------------------------------

    def test_every_process_is_there_once_with_the_same_plan(self, tmp_path: Path) -> None:
        """They meet and add up their numbers; the status is 0, and nobody is left."""
        ended = self.ended(tmp_path, "count")
        assert ended.status == 0, ended.said
        assert [one["rank"] for one in ended.present] == list(range(self.processes)), ended.said
        assert {one["world"] for one in ended.present} == {self.processes}
        assert {one["sum"] for one in ended.present} == {sum(range(1, self.processes + 1))}, "they did not meet"
        assert len({one["plan"] for one in ended.present}) == 1, "they had different plans"
        assert not ended.left

    def test_a_failure_is_shown_and_ends_them_all(self, tmp_path: Path) -> None:
        """The traceback of the one that failed, and a status of 1; the others, which wait for it, are gone within a minute."""
        ended = self.ended(tmp_path, "fail")
        assert ended.status == 1, ended.said
        assert "the last one gives up" in ended.said
        assert "Traceback" in ended.said
        assert not ended.left, f"{len(ended.left)} processes are left"

    def test_a_process_that_dies_brings_the_others_down(self, tmp_path: Path) -> None:
        """Killed as by the kernel, without a word."""
        if self.processes == 1:
            pytest.skip("the only process is the one that was started")
        ended = self.ended(tmp_path, "die")
        assert ended.status == 1, ended.said
        assert ended.seconds < WITHIN
        assert not ended.left, f"{len(ended.left)} processes are left"

    def test_a_mistake_is_told_without_a_traceback(self, tmp_path: Path) -> None:
        """As a :class:`TunesmithError`, for which the host says what and what to do."""
        ended = self.ended(tmp_path, "mistake")
        assert ended.status == 2, ended.said
        assert "there is a mistake" in ended.said
        assert "Traceback" not in ended.said

    def test_a_signal_reaches_every_process(self, tmp_path: Path) -> None:
        """Each ends in its own time, and the status says that the run was interrupted."""
        ended = self.ended(tmp_path, "wait", signal.SIGTERM)
        assert ended.status == 130, ended.said
        assert all((tmp_path / f"ended-{rank}").is_file() for rank in range(self.processes)), ended.said
        assert not ended.left


def present(folder: Path) -> tuple[Mapping[str, Any], ...]:
    """What each process has left word of, by its number."""
    return tuple(json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("present-*.json")))


def alive(folder: Path) -> list[int]:
    """The processes that were started for a run in ``folder``."""
    running = psutil.process_iter(["environ"])
    return [one.pid for one in running if (one.info["environ"] or {}).get(MARK) == str(folder)]
