"""Ray's launcher does what every launcher must, on a cluster that it starts itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from tunesmith.testing import LauncherSuite
from tunesmith_ray.plugin import tunesmith_launchers


@pytest.mark.long
class TestRay(LauncherSuite):
    """Two workers on one machine, each of which counts as a machine of its own."""

    spec = tunesmith_launchers()[0]
    keys: ClassVar[Mapping[str, Any]] = {
        "use_ray": True,
        "ray_num_workers": 2,
        "resources_per_worker": {"CPU": 1},
        "ray_init_kwargs": {"num_cpus": 2, "include_dashboard": False},
    }
    environment: ClassVar[Mapping[str, str]] = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
