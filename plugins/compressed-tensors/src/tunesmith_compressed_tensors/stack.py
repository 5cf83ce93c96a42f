"""A job for llm-compressor, done by a process in its stack."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith import TunesmithError
from tunesmith.stacks.pip import environment
from tunesmith.stacks.place import interpreter

STACK = "llm-compressor"
#: So much of what it said is shown where it failed.
TAIL = 1500


def run_in_stack(job: Mapping[str, Any]) -> None:
    """Quantise a model from folder to folder; see :mod:`tunesmith_compressed_tensors.one_shot` for what a job holds.

    :raises TunesmithError: the stack is not there, or llm-compressor failed; its last words are told.
    """
    script = Path(__file__).with_name("one_shot.py")
    python = interpreter(STACK)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(
            [str(python), str(script), str(file)],
            cwd=folder,  # it writes a log beside itself
            env={**environment(), **quiet},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-TAIL:]
        raise TunesmithError(f"llm-compressor could not quantise the model by {job['method']}.", f"It said: {said}")
