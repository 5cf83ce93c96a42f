"""The console scripts ``llamafactory-cli`` and ``lmf``, and the module ``llamafactory.train``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from tunesmith.cli.main import discover, guarded
from tunesmith.cli.main import main as tunesmith

from tunesmith_compat.original import refuse_beside_it
from tunesmith_compat.subcommands import SUBCOMMANDS, find

HELP = ("help", "-h", "--help")


def run() -> None:
    """The console scripts."""
    sys.exit(main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Do what a command line of LLaMA-Factory asks for; returns the exit status, 2 where it is the user's to mend."""
    return guarded(lambda: _carry_out(list(words)))


def _carry_out(words: list[str]) -> int:
    refuse_beside_it()
    if not words or words[0] in HELP:
        click.echo(usage())
        return 0
    find(words[0], discover((), (), words))
    return tunesmith(words)


def usage() -> str:
    """What ``llamafactory-cli help`` prints."""
    rows = [f"  llamafactory-cli {one.name:<9} {one.summary}" for one in SUBCOMMANDS.values()]
    head = "LLaMA-Factory's commands, carried out by Tunesmith (lmf is short for llamafactory-cli):"
    tail = "Each takes RUN.yaml, key=value and --key value. Tunesmith has more commands: tunesmith --help"
    return "\n".join([head, "", *rows, "", tail])
