"""The page of what experts ask for says of every key what becomes of it, and it does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tunesmith import settings
from tunesmith.errors import ConfigError
from tunesmith.known_keys import rows
from tunesmith.plugins import Plugins

PAGE = Path(__file__).parents[1] / "docs" / "experts.md"
#: What a key is given, by its type, so that it says something.
VALUES = {"bool": True, "int": 2, "float": 0.5, "str": "x", "dict": {"a": 1}}
#: Named only to say what to write instead.
INSTEAD = ("batching_strategy", "block_diag_attn")


def fates() -> Iterator[tuple[str, str]]:
    """Each key of the page's table, and the word before the first comma or colon of its fate."""
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3:
            fate = re.match(r"\w+(?: on)?", cells[1])
            for key in re.findall(r"`([a-z_0-9]+)(?::[^`]*)?`", cells[2]):
                yield key, fate[0] if fate else ""


FATES = sorted(set(fates()))
STOPPED = [key for key, _ in FATES if key in rows() and rows()[key].status == "refused"]


def given(key: str) -> Any:
    """A value that the key may have."""
    words = re.findall(r"'(\w+)'", rows()[key].type)
    return words[-1] if words else next((VALUES[name] for name in VALUES if name in rows()[key].type), "x")


def test_the_table_was_read() -> None:
    assert {"use_mca", "cp_size", "fp8", "hyper_parallel_args", "enable_torch_profiler", "use_vllm"} <= {
        key for key, _ in FATES
    }


def test_every_key_has_the_fate_that_the_page_says() -> None:
    known = rows()
    allowed = {"built": ("owned", "translated"), "refused": ("refused",)}
    wrong = [
        (key, fate, known[key].status)
        for key, fate in FATES
        if key in known and key not in INSTEAD and known[key].status not in allowed[fate]
    ]
    assert not wrong


@pytest.mark.parametrize("key", STOPPED)
def test_what_is_refused_is_an_error_that_says_why(key: str) -> None:
    with pytest.raises(ConfigError) as found:
        settings.read(Plugins(), {key: given(key)}, environ={})
    (problem,) = found.value.problems
    assert key in problem.what
    assert rows()[key].reason in problem.instead
