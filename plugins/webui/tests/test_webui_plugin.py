"""That the package is a good plugin, whatever it offers."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestPlugin(PluginSuite):
    """The tests that every plugin passes."""

    plugin = "webui"
    folder = Path(__file__).parents[1]
