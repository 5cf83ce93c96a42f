"""What commands share that take a configuration and overrides: ``tunesmith train run.yaml lora_rank=32 --bf16``.

A command is declared with ``@click.command(context_settings=RUN_CONTEXT)`` and ``@run_arguments``. Its own options (``--json``,
``--quiet``) work anywhere among the words; every other word reaches it untouched, and :func:`read_arguments` makes sense of
them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from tunesmith import settings
from tunesmith.config import RunConfig
from tunesmith.plugins import Plugins

#: Lets words that are no options of the command through to ``arguments``.
RUN_CONTEXT: dict[str, Any] = {"ignore_unknown_options": True}

#: Declares the parameter ``arguments``: a tuple of words.
run_arguments = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[RUN.yaml] [key=value | --key value]…")


def read_arguments(plugins: Plugins, arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> RunConfig:
    """Read the configuration that the words of a command line name, with their overrides and the environment.

    What is wrong with it is reported by the plan that is made of it, together with what planning finds.
    """
    return settings.gather(plugins, None, arguments, environ)
