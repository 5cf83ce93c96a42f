"""That the package is a good plugin."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestPlugin(PluginSuite):
    plugin = "bottleneck"
    folder = Path(__file__).parents[1]
