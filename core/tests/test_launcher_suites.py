"""The host's launchers do what every launcher must."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from tunesmith.defaults.plugin import tunesmith_launchers
from tunesmith.testing import LauncherSuite

pytestmark = pytest.mark.long  # test_launching.py tries the same things and more, in fewer starts
SPECS = {spec.name: spec for spec in tunesmith_launchers()}


class TestPlain(LauncherSuite):
    """This process."""

    spec = SPECS["plain"]
    processes = 1


class TestTorchrun(LauncherSuite):
    """torch's elastic agent."""

    spec = SPECS["torchrun"]
    keys: ClassVar[Mapping[str, Any]] = {"nproc_per_node": 2}
