"""pip, as it is called for stacks: the stack's own, over the indexes that the user has configured."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tunesmith.errors import TunesmithError

#: How much of what pip said is shown.
LINES = 25


def pip(python: Path, arguments: Sequence[str | Path], *, doing: str) -> None:
    """Run pip and keep its words for the case that it fails.

    :param doing: what it was called for, as it follows "pip could not".
    :raises TunesmithError: it failed; with the end of what it said.
    """
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("WARNING: Location")]
        raise TunesmithError(f"pip could not {doing}.", "\n  ".join(said[-LINES:]))


def environment() -> dict[str, str]:
    """This process's environment without what would lead another Python to the packages of this one."""
    gone = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    return {name: value for name, value in os.environ.items() if name not in gone}
