"""The package is a good plugin."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestExportPlugin(PluginSuite):
    """The tests that every plugin passes."""

    plugin = "export"
    folder = Path(__file__).parents[1]
