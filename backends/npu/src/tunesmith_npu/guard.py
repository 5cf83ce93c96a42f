"""Keeps ``import torch`` working where torch-npu is installed and cannot run. No torch.

torch imports torch-npu by itself, and dies with it where CANN is not set up. transformers imports it as well, as soon as it is
installed, to ask for devices.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from tunesmith_npu.preflight import probe

#: torch's own switch for importing other people's devices.
SWITCH = "TORCH_DEVICE_BACKEND_AUTOLOAD"
PACKAGE = "torch_npu"


def keep_import_of_torch_working() -> None:
    """Keep torch from importing torch-npu; where that could not run, give who else imports it a module without devices."""
    if PACKAGE in sys.modules or find_spec(PACKAGE) is None:
        return
    os.environ.setdefault(SWITCH, "0")
    if not probe().here:
        sys.modules[PACKAGE] = without_devices()


def without_devices() -> ModuleType:
    """What stands for torch-npu in a process that cannot use it."""
    module = ModuleType(PACKAGE, "Stands for torch-npu, which cannot run on this machine: tunesmith doctor --backend npu.")
    module.__spec__ = ModuleSpec(PACKAGE, None)
    return module
