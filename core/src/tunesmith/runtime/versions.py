"""The versions of what a run was made with, for manifests and model cards."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "transformers", "accelerate", "peft", "trl", "datasets", "tokenizers", "safetensors")


def versions() -> dict[str, str]:
    """Name → version of Python, Tunesmith and the libraries that the numbers depend on; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in ("tunesmith-core", *PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
