"""What of Ascend's software is on this machine, read from files. Nothing is imported, no device is touched.

Places: https://www.hiascend.com/document (driver: ``version.info``, toolkit: ``ascend_toolkit_install.info``).
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

#: Where Ascend's installers put things unless told otherwise.
ROOT = Path("/")
DRIVER = "usr/local/Ascend/driver/version.info"
TOOLKITS = ("usr/local/Ascend/cann", "usr/local/Ascend/ascend-toolkit/latest", "usr/local/Ascend/latest")
#: What CANN's ``set_env.sh`` sets.
HOME = "ASCEND_HOME_PATH"
VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Installed:
    """Versions as text, empty for what is not there. ``toolkit`` is CANN's folder, ``set_up`` that this process sees it."""

    system: str = "linux"
    machine: str = "aarch64"
    devices: int = 0
    driver: str = ""
    cann: str = ""
    toolkit: str = ""
    set_up: bool = False
    torch: str = ""
    torch_npu: str = ""
    visible: str | None = None


def look(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Installed:
    """Look at this machine, or at one whose files lie in ``root``."""
    toolkit = _toolkit(environ, root)
    return Installed(
        system=sys.platform,
        machine=platform.machine(),
        devices=len(list((root / "dev").glob("davinci[0-9]*"))),
        driver=_version(root / DRIVER),
        cann=_cann(toolkit) if toolkit else "",
        toolkit=str(toolkit or ""),
        set_up=HOME in environ,
        torch=_distribution("torch"),
        torch_npu=_distribution("torch-npu"),
        visible=environ.get(VISIBLE),
    )


def _toolkit(environ: Mapping[str, str], root: Path) -> Path | None:
    named = [Path(environ[HOME])] if HOME in environ else []
    return next((folder for folder in (*named, *(root / place for place in TOOLKITS)) if folder.is_dir()), None)


def _cann(toolkit: Path) -> str:
    files = sorted(
        {*toolkit.glob("*/ascend_*_install.info"), *toolkit.glob("ascend_*_install.info"), *toolkit.glob("version.cfg")}
    )
    return next((found for file in files if (found := _version(file))), "")


def _version(file: Path) -> str:
    """The version in a file of lines like ``Version=25.5.0`` or ``[8.5.0:8.5.0]``."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    match = re.search(r"^\s*\w*version\w*\s*=\s*\[?([\w.]+)", text, re.MULTILINE | re.IGNORECASE)
    return match[1] if match else ""


def _distribution(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
