"""Compiles the emulated device, once for each version of torch and of the compiler. No torch."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from tunesmith.data.cache import cache_home
from tunesmith.errors import TunesmithError

SOURCE = Path(__file__).with_name("device.cpp")
#: Seconds after which a compiler is given up.
PATIENCE = 600


def why_not() -> str:
    """Why no device can be emulated on this machine; empty where one can."""
    if not sys.platform.startswith("linux"):
        return f"the emulated device is built on Linux only, and this is {sys.platform}"
    if find_spec("torch") is None:
        return "torch is not installed"
    if compiler() is None:
        return "there is no C++ compiler (c++, g++ or clang++; CXX names another)"
    return ""


def compiler() -> str | None:
    """The C++ compiler of this machine: ``CXX``, else the first that is found."""
    names = filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++"))
    return next((found for name in names if (found := shutil.which(name))), None)


@cache
def library() -> Path:
    """The compiled device, from the cache where it is there already.

    :raises TunesmithError: it cannot be built; the message is the compiler's.
    """
    if reason := why_not():
        raise TunesmithError(f"No device can be emulated: {reason}.", "Run these tests where it can be built.")
    built = cache_home() / "emulator" / f"device-{_fingerprint()}.so"
    if not built.is_file():
        built.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=built.parent) as folder:
            made = Path(folder) / built.name
            _compile(made)
            made.replace(built)  # whole or not at all, whoever else compiles the same at the same time
    return built


def _command(target: Path) -> list[str]:
    found = find_spec("torch")
    assert found is not None
    assert found.origin is not None
    torch = Path(found.origin).parent
    flags = ["-std=c++20", "-O1", "-fPIC", "-shared", "-w", f"-I{torch / 'include'}", f"-L{torch / 'lib'}"]
    return [str(compiler()), *flags, "-o", str(target), str(SOURCE), "-ltorch_cpu", "-lc10"]


def _compile(target: Path) -> None:
    done = subprocess.run(_command(target), capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode:
        wrong = [line for line in done.stderr.splitlines() if "error" in line]
        message = "The emulated device does not compile against this torch:\n" + "\n".join(wrong[:5] or [done.stderr[-500:]])
        raise TunesmithError(message, "Its source is " + str(SOURCE))


def _fingerprint() -> str:
    """Of everything that the result depends on."""
    said = subprocess.run([str(compiler()), "--version"], capture_output=True, text=True, check=True).stdout
    parts = [SOURCE.read_text(encoding="utf-8"), version("torch"), said, sysconfig.get_platform(), *_command(Path("device"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
