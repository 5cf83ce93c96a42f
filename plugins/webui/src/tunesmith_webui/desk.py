"""What the page of runs can do, without the page."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml
from tunesmith import launch, planning
from tunesmith.cli.plan_text import plan_text
from tunesmith.errors import TunesmithError
from tunesmith.keys import KeyTable
from tunesmith.output_folder import in_use
from tunesmith.past_runs import find_runs, history, is_run, read_run
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.run_record import read_record
from tunesmith.settings import gather

from tunesmith_webui.folder import Folder
from tunesmith_webui.jobs import Job, Jobs
from tunesmith_webui.rows import shown_rows

#: Where commands write that do not write ``output_dir``.
OUTPUTS = {"export": "export_dir", "eval": "save_dir"}
#: Commands that go on until somebody ends them.
TALKING = ("chat", "api", "webchat", "webui")
#: What follows a value that stands on its line.
COMMENT = re.compile(r"\s+#.*$")


@dataclass(frozen=True)
class Desk:
    """A folder, what is installed, and what was started."""

    plugins: Plugins
    folder: Folder
    jobs: Jobs

    def commands(self) -> list[str]:
        """Commands that run from one file and end by themselves."""
        offered = [offer.spec for offer in self.plugins.commands]
        return ["train", *sorted(spec.name for spec in offered if spec.requires and spec.name not in ("train", *TALKING))]

    def plan(self, command: str, name: str, text: str) -> Plan:
        """Save the configuration and plan it.

        :raises TunesmithError: it cannot be read, or cannot be run; the message has every problem.
        """
        file = self.folder.write(name, text)
        return planning.make(gather(self.plugins, file), self.plugins, command)

    def explain(self, command: str, name: str, text: str) -> str:
        """What the configuration would do, as ``tunesmith plan`` says it, or everything that is wrong with it."""
        try:
            return click.unstyle(plan_text(self.plan(command, name, text)))
        except TunesmithError as error:
            return f"{error}\n{error.hint or ''}".rstrip()

    def start(self, command: str, name: str, text: str) -> Job:
        """Save the configuration, plan it, and run it in a process of its own.

        :raises TunesmithError: something is wrong with the plan, or a job that writes the same folder runs.
        """
        plan = self.plan(command, name, text)
        plan.check_ready()
        key = OUTPUTS.get(command, "output_dir")
        written = plan[key] if key in plan.settings else None
        return self.jobs.start(command, self.folder.place(name), Path(str(written)).resolve() if written else None)

    def keys(self) -> KeyTable:
        """Every key of every installed package."""
        return KeyTable.of(self.plugins)

    def about(self, name: str) -> str:
        """What a key means."""
        key = self.keys().get(name)
        if key is None:
            return ""
        choices = f" {key.bounds}" if key.bounds else ""
        return f"**{key.name}** ({key.group}; default `{key.default}`): {key.help}{choices}"

    def put(self, text: str, name: str, value: str) -> str:
        """The configuration with one key set, everything else as it was; an empty ``value`` takes the key out.

        :raises TunesmithError: the value or the configuration is no YAML, or the key is unknown.
        """
        if name not in self.keys():
            raise TunesmithError(f"There is no key {name!r}.")
        try:
            meant = yaml.safe_load(value)
            whole = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise TunesmithError(f"This is no YAML: {error}") from error
        made = _with(text, name, value, there=isinstance(whole, dict) and name in whole)
        if not _says(made, whole, name, meant, gone=not value):  # a value of several lines, or a mapping in braces
            raise TunesmithError(f"{name} cannot be put there without changing something else.", "Write it into the text.")
        return made

    def rows(self, name: str, text: str, count: int) -> list[tuple[str, str | None]]:
        """The first rows of every dataset as the model reads them: stretches of text, and what each is: ``row`` (its place),
        ``learned``, ``bad`` or nothing.

        :raises TunesmithError: the configuration cannot be planned, or its data cannot be read.
        """
        plan = self.plan("data", name, text)
        plan.check_ready()
        return list(shown_rows(launch.fetch(plan, self.plugins), self.plugins, count))

    def runs(self) -> list[list[Any]]:
        """Finished and running runs below the folder: name, status, step, loss."""
        root = self.folder.root
        return [[str(run.folder.relative_to(root)), run.status, run.step, run.loss] for run in find_runs(root)]

    def going(self) -> list[str]:
        """Names of all that can be watched: jobs of this server, and runs of the folder that somebody else has started."""
        own = {job.output for job in self.jobs.known.values()}
        others = [run.folder for run in find_runs(self.folder.root) if in_use(run.folder) and run.folder.resolve() not in own]
        return [*self.jobs.known, *(str(folder.relative_to(self.folder.root)) for folder in others)]

    def stop(self, name: str | None) -> None:
        """Ask a job or a run to end: first so that it keeps its work, then at once.

        :raises TunesmithError: it is none of :meth:`going`, or has ended.
        """
        folder = self._output(name)
        record = read_record(folder) if folder is not None and name not in self.jobs.known and in_use(folder) else None
        if record is None:
            self.jobs.stop(name or "")
        else:
            os.kill(record.process, signal.SIGINT)

    def curve(self, name: str | None) -> list[dict[str, float]]:
        """Step and loss of a run, or of the run that a job writes."""
        folder = self._output(name)
        if folder is None or not folder.is_dir() or not is_run(folder):
            return []
        return [
            {"step": float(entry["step"]), "loss": float(entry["loss"])}
            for entry in history(read_run(folder))
            if "loss" in entry and "step" in entry
        ]

    def status(self, name: str | None) -> str:
        """How a job or a run is."""
        if name in self.jobs.known:
            return self.jobs.known[name].status
        folder = self._output(name)
        return read_run(folder).status if folder is not None and is_run(folder) else ""

    def _output(self, name: str | None) -> Path | None:
        """The folder that a job or a run writes; no folder outside this one."""
        if name in self.jobs.known:
            return self.jobs.known[name].output
        runs = find_runs(self.folder.root) if name else []
        return next((run.folder for run in runs if str(run.folder.relative_to(self.folder.root)) == name), None)


def _with(text: str, name: str, value: str, *, there: bool) -> str:
    line = [f"{name}: {value}"] if value else []
    if not there:
        return "\n".join([*text.rstrip().splitlines(), *line]) + "\n"
    return "".join(
        f"{new}\n" for old in text.splitlines() for new in (_kept(line, old) if old.split(":")[0] == name else [old])
    )


def _kept(line: list[str], old: str) -> list[str]:
    """The new line with the comment of the old one."""
    comment = COMMENT.search(old)
    return [f"{new}{comment[0] if comment else ''}" for new in line]


def _says(text: str, whole: Any, name: str, value: Any, *, gone: bool) -> bool:
    """Whether a text says the whole, with one key set or gone, and nothing else."""
    if not isinstance(whole, dict):
        return False
    wanted = {key: said for key, said in whole.items() if key != name} | ({} if gone else {name: value})
    try:
        return bool((yaml.safe_load(text) or {}) == wanted)
    except yaml.YAMLError:
        return False
