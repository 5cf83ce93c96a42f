"""Which versions of driver, CANN, torch and torch-npu belong together, by the table that ships with this package.

The table is what torch-npu's and vllm-ascend's own pages say. A version that it does not know is said, never guessed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from packaging.version import InvalidVersion, Version
from tunesmith.contracts import Finding

from tunesmith_npu.installed import Installed

PAGE = "https://gitcode.com/Ascend/pytorch"


@dataclass(frozen=True)
class Row:
    """Versions that were released to work together; ``driver`` is the oldest one named for them, empty where none is."""

    cann: str
    torch: str
    torch_npu: str
    driver: str


@cache
def table() -> tuple[Row, ...]:
    """Every row, the newest first."""
    with resources.files("tunesmith_npu").joinpath("versions.csv").open(encoding="utf-8") as file:
        return tuple(Row(**line) for line in csv.DictReader(file))


def fits(torch: str, torch_npu: str) -> bool:
    """Whether torch-npu was built for this very torch: its first three numbers are torch's."""
    return bool(torch) and Version(torch).release[:3] == Version(torch_npu).release[:3]


def recommended(found: Installed) -> Row:
    """The row to install from: of this CANN, where it is known, and for the torch that is here, where there is one."""
    rows = [row for row in table() if row.cann == found.cann] or list(table())
    here = [row for row in rows if found.torch and fits(found.torch, row.torch_npu)]
    return (here or rows)[0]


def command(torch: str, torch_npu: str, machine: str) -> str:
    """What installs both. On x86_64 torch-npu asks for torch's build for processors, which is not on PyPI."""
    if machine == "x86_64":
        return f"pip install torch=={torch}+cpu torch-npu=={torch_npu} --extra-index-url (CPU's, of pytorch.org/get-started)"
    return f"pip install torch=={torch} torch-npu=={torch_npu}"


def compared(found: Installed) -> Iterator[Finding]:
    """torch-npu against CANN, and the driver against both."""
    known = next((row for row in table() if row.torch_npu == found.torch_npu), None)
    if known is None:
        newest = table()[0]
        fix = f"See {PAGE}; the newest that the table knows: CANN {newest.cann} with torch-npu {newest.torch_npu}."
        yield Finding("warn", f"no table says which CANN torch-npu {found.torch_npu} is for; here is {found.cann}", fix)
        return
    if known.cann != found.cann:
        mate = recommended(found)
        other = command(mate.torch, mate.torch_npu, found.machine) if mate.cann == found.cann else f"see {PAGE}"
        what = f"torch-npu {found.torch_npu} is for CANN {known.cann}, and here is CANN {found.cann}"
        yield Finding("fail", what, f"Install CANN {known.cann}, or {other}.")
        return
    yield Finding("ok", f"torch-npu {found.torch_npu} is the one for CANN {found.cann}")
    if known.driver and found.driver and _older(found.driver, known.driver):
        what = f"driver {found.driver} is older than {known.driver}, which is recommended for CANN {found.cann}"
        yield Finding("warn", what, f"Install Ascend HDK {known.driver} or newer.")


def _older(one: str, other: str) -> bool:
    try:
        return Version(one) < Version(other)
    except InvalidVersion:
        return False
