"""A line that starts LLaMA-Factory, as people type it or keep it in scripts → its parts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from tunesmith import TunesmithError

PROGRAMS = ("llamafactory-cli", "lmf")
MODULE = "llamafactory.train"
#: Scripts of its checkout, by their last two names.
SCRIPTS = {"src/train.py": "train", "src/api.py": "api", "src/webui.py": "webui"}
#: What launchers call the option that starts a module.
MODULE_OPTIONS = ("-m", "--module")
_VARIABLE = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
_OPERATORS = re.compile(r"[|&;<>]+|\d?>&?\d?")
_PYTHON = re.compile(r"python[\d.]*")


@dataclass(frozen=True)
class CommandLine:
    """``variables`` stand in front, ``launcher`` starts the processes (empty: nobody but the program itself)."""

    variables: Mapping[str, str]
    launcher: tuple[str, ...]
    command: str
    words: tuple[str, ...]

    def here(self) -> str:
        """The line that does the same here, as one types it."""
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.variables.items())
        program = [*self.launcher, self._module_option(), "tunesmith.train"] if self.launcher else ["tunesmith", self.command]
        return " ".join(filter(None, (variables, shlex.join([*program, *self.words]))))

    def _module_option(self) -> str:
        return "--module" if PurePath(self.launcher[0]).name == "deepspeed" else "-m"


def read_line(words: Sequence[str]) -> CommandLine:
    """Read the words of one line; a single word that holds a whole line is split as a shell would.

    :raises TunesmithError: it does not start LLaMA-Factory, or holds more than one command.
    """
    if len(words) == 1:
        words = _split(words[0])
    variables: dict[str, str] = {}
    rest = list(words)
    while rest and (match := _VARIABLE.fullmatch(rest[0])):
        variables[match["name"]] = match["value"]
        rest.pop(0)
    launcher, command, given = _started(rest)
    if launcher and command != "train":
        raise TunesmithError(f"{launcher[0]} starts {command}, and only training is spread over processes.")
    return CommandLine(variables, launcher, command, given)


def _split(line: str) -> list[str]:
    try:
        words = shlex.split(line.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise TunesmithError(f"This line is not complete: {error}", "Close what is quoted.") from error
    shell = [word for word in words if _OPERATORS.fullmatch(word) or "$" in word or "`" in word]
    if shell:
        raise TunesmithError(
            f"{shell[0]!r} is for a shell to read, and none is asked here.",
            "Give one command, with what stands for a variable filled in.",
        )
    return words


def _started(words: list[str]) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """The launcher's words, the subcommand and its words."""
    for place, word in enumerate(words):
        if PurePath(word).name in PROGRAMS:
            command, *given = words[place + 1 :] or ["help"]
            return tuple(words[:place]), command, tuple(given)
        if word in MODULE_OPTIONS and words[place + 1 : place + 2] == [MODULE]:
            return _launcher(words[:place]), "train", tuple(words[place + 2 :])
        script = "/".join(PurePath(word).parts[-2:])
        if place and script in SCRIPTS:
            return _launcher(words[:place]), SCRIPTS[script], tuple(words[place + 1 :])
    raise TunesmithError(
        "This line does not start LLaMA-Factory.",
        f"It starts with {' or '.join(PROGRAMS)}, or a launcher starts -m {MODULE} or src/train.py.",
    )


def _launcher(words: list[str]) -> tuple[str, ...]:
    """What stands in front of the module, unless that is Python alone."""
    return () if len(words) == 1 and _PYTHON.fullmatch(PurePath(words[0]).name) else tuple(words)
