"""What ``accelerate launch`` was told and does not pass on to the processes it starts.

On a CPU it starts one process, without a rank, whatever ``num_processes`` says; with ``--cpu`` it also leaves sharding out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.mapping_files import read_mapping

#: Set by every form of ``accelerate launch`` and by nobody else.
MARK = "ACCELERATE_MIXED_PRECISION"
HALF = ("bf16", "fp16")
#: How ``distributed_type`` begins where every process holds the whole model.
WHOLE = ("NO", "MULTI_")


def words_meant(environ: Mapping[str, str], parent: Sequence[str], given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words for the command line that say what accelerate was told, and what to tell people about it.

    :param environ: the environment of this process.
    :param parent: the command line of the process that started this one.
    :param given: the words of this process, which win.
    :raises TunesmithError: accelerate was told what it does not do, and nobody else can.
    """
    if MARK not in environ:
        return [], []
    words = [f"{half}=true" for half in HALF if environ[MARK] == half and not _mentions(given, half)]
    if environ.get("RANK") or "launch" not in parent:
        return words, []
    options = {**_configuration(parent, environ), **dict(_options(parent))}
    kind, processes = str(options.get("distributed_type", "NO")), int(options.get("num_processes") or 1)
    if not kind.startswith(WHOLE):
        what = f"accelerate launch leaves {kind} out on a CPU."
        raise TunesmithError(what, "Ask for it by its own key in the run's configuration, and start it with tunesmith train.")
    if int(options.get("num_machines") or 1) > 1:
        hint = "Start tunesmith train on each with nnodes, node_rank and master_addr, or use torchrun."
        raise TunesmithError("accelerate launch starts processes on several machines only where they have GPUs.", hint)
    if processes == 1 or _mentions(given, "nproc_per_node"):
        return words, []
    said = f"accelerate launch has started one of the {processes} processes it was told of; tunesmith starts all of them."
    return [*words, f"nproc_per_node={processes}"], [said]


def parent_words() -> list[str]:
    """The command line of the process that started this one; empty where the system does not tell."""
    file = Path(f"/proc/{os.getppid()}/cmdline")
    return file.read_bytes().decode(errors="replace").split("\0") if file.is_file() else []


def _mentions(words: Sequence[str], key: str) -> bool:
    return any(re.match(rf"(--)?{key}\b", word) for word in words)


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """``--num_processes 2`` and ``--num-processes=2`` alike, before the module or script that is launched."""
    rest = iter(words)
    for word in rest:
        if word in ("-m", "--module") or word.endswith(".py"):
            return
        name, _, value = word.partition("=")
        name = name.removeprefix("--").replace("-", "_")
        if word.startswith("--") and name in ("num_processes", "num_machines", "config_file"):
            yield name, value or next(rest, "")


def _configuration(words: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    named = dict(_options(words)).get("config_file")
    home = Path(environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser())
    usual = [home / "accelerate" / f"default_config.{kind}" for kind in ("json", "yaml")]
    file = named or next((str(one) for one in usual if one.is_file() and "--cpu" not in words), None)
    return read_mapping(file, Path(), "accelerate")
