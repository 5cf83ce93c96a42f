"""A stack that is not made but stood in for: its Python is this one, with a folder of modules before everything else."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tunesmith.plugins import Plugins
from tunesmith.specs import StackSpec
from tunesmith.stacks.making import demands
from tunesmith.stacks.place import Stack, folder_of


def stand_in(spec: StackSpec, modules: Path) -> Path:
    """Mark the stack as made, in the folder of stacks that ``TUNESMITH_STACKS`` names, and return its Python.

    :param modules: what is imported from there in place of the stack's packages.
    """
    python = folder_of(spec.name) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(modules))} exec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    Stack(spec.name, spec.kind, "3.11", demands(spec, Plugins())).write()
    return python
