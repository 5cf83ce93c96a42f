"""That the package is a good plugin, whatever it offers."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestPreferencePlugin(PluginSuite):
    """The tests that every plugin passes."""

    plugin = "preference"
    folder = Path(__file__).parents[1]
