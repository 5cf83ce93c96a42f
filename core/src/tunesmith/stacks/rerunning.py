"""A run that belongs into a stack is started anew there: the same settings, planned again with that stack's own versions.

The process becomes the other one, so that output, signals and exit status are its own. Settings travel in a file that only this
user can read and that is gone as soon as it was read; nothing of them is on a command line.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tunesmith.config import RunConfig
from tunesmith.installation import LIBRARIES, version_of
from tunesmith.plan import Plan, is_secret
from tunesmith.stacks.pip import environment
from tunesmith.stacks.place import interpreter

MODULE = "tunesmith.cli.in_stack"


@dataclass(frozen=True)
class Request:
    """What is told to the process in the stack. ``settings``: key, value and origin of everything that was given."""

    command: str
    settings: tuple[tuple[str, Any, str], ...]
    file: str | None
    quiet: bool
    strict: bool
    plan: str
    versions: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, config: RunConfig, *, quiet: bool, strict: bool) -> Request:
        """Ask for ``plan``, which was made of ``config``."""
        settings = tuple((key, setting.value, setting.origin) for key, setting in config.settings.items())
        file = str(config.file) if config.file else None
        return cls(plan.command, settings, file, quiet, strict, plan.to_json(), library_versions())

    def write(self) -> Path:
        """Into a file of its own that nobody else can read."""
        descriptor, name = tempfile.mkstemp(prefix="tunesmith-", suffix=".json")  # made with mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(asdict(self), out)
        return Path(name)

    @classmethod
    def take(cls, file: Path) -> Request:
        """Read a request and delete its file."""
        plain = json.loads(file.read_text(encoding="utf-8"))
        file.unlink()
        settings = tuple((key, value, origin) for key, value, origin in plain["settings"])
        return cls(**{**plain, "settings": settings})


def library_versions() -> dict[str, str | None]:
    """The libraries whose versions decide how a run behaves, as they are here."""
    return {name: version_of(name) for name in LIBRARIES}


def start_there(stack: str, request: Request) -> NoReturn:
    """Become the process that carries ``request`` out in ``stack``.

    :raises TunesmithError: the stack has not been made.
    """
    python = interpreter(stack)
    _become(python, ["-m", MODULE, str(request.write())])


def again_there(stack: str) -> NoReturn:
    """Become the same command line in ``stack``: for commands that have more to say than the settings of a run.

    :raises TunesmithError: the stack has not been made.
    """
    _become(interpreter(stack), ["-m", "tunesmith.cli.main", *sys.argv[1:]])


def _become(python: Path, arguments: list[str]) -> NoReturn:
    variables = {**environment(), "VIRTUAL_ENV": str(python.parents[1])}
    variables["PATH"] = os.pathsep.join([str(python.parent), variables.get("PATH", os.defpath)])
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(python, [str(python), *arguments], variables)


def differences(request: Request, plan: Plan) -> Iterator[str]:
    """How the plan that was made in the stack differs from the one that was made outside."""
    before = Plan.from_json(request.plan)
    for name, version in library_versions().items():
        if version != request.versions.get(name):
            yield f"{name} {version or 'is not installed'} here, {request.versions.get(name) or 'not installed'} outside"
    was, now = ({(c.axis, c.name): c.owner.version for c in one.chosen} for one in (before, plan))
    for one in sorted(was.keys() | now.keys()):
        if was.get(one) != now.get(one):
            yield f"{one[1]} ({one[0]}): {now.get(one, 'not chosen')} here, {was.get(one, 'not chosen')} outside"
    for key in sorted(before.settings.keys() | plan.settings.keys()):
        here, outside = _value(plan, key), _value(before, key)
        if here != outside and not is_secret(key):
            yield f"{key}: {here} here, {outside} outside"


def _value(plan: Plan, key: str) -> Any:
    """As it is in JSON, so that a tuple and a list are the same."""
    setting = plan.settings.get(key)
    return json.loads(json.dumps(setting.value, default=str)) if setting is not None else "no such key"
