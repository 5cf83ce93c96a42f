"""The subcommands of LLaMA-Factory, and what carries each out here."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith import TunesmithError
from tunesmith.errors import nearest
from tunesmith.plugins import Plugins


@dataclass(frozen=True)
class Subcommand:
    """One word after ``llamafactory-cli``. ``brought_by`` is the distribution whose command of that name does the work."""

    name: str
    summary: str
    brought_by: str
    reads_keys: bool = True


SUBCOMMANDS = {
    one.name: one
    for one in (
        Subcommand("train", "fine-tune a model", "tunesmith-core"),
        Subcommand("export", "merge an adapter, write a model to deploy", "tunesmith-export"),
        Subcommand("chat", "talk to a model in the terminal", "tunesmith-chat"),
        Subcommand("api", "serve a model as an OpenAI-compatible API", "tunesmith-api"),
        Subcommand("webchat", "talk to a model in the browser", "tunesmith-webui"),
        Subcommand("webui", "set up and watch runs in the browser", "tunesmith-webui", reads_keys=False),
        Subcommand("eval", "run benchmarks", "tunesmith-evaluate"),
        Subcommand("env", "what people paste into bug reports", "tunesmith-core", reads_keys=False),
        Subcommand("version", "the version", "tunesmith-core", reads_keys=False),
    )
}


def find(name: str, plugins: Plugins) -> Subcommand:
    """The subcommand of this name, if what carries it out is installed.

    :raises TunesmithError: there is none, or a package is lacking.
    """
    if name not in SUBCOMMANDS:
        ours = f"It is one of Tunesmith's own: tunesmith {name}" if name in plugins.commands.names else ""
        hint = ours or nearest(name, SUBCOMMANDS) or f"There are: {', '.join(SUBCOMMANDS)}, help."
        raise TunesmithError(f"LLaMA-Factory has no command {name!r}.", hint)
    found = SUBCOMMANDS[name]
    if name not in plugins.commands.names:
        message = f"The command {name} comes with the package {found.brought_by}, which is not installed or switched off."
        raise TunesmithError(message, f"pip install {found.brought_by}")
    return found
