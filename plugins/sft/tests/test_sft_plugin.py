"""The package is a good plugin."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestSftPlugin(PluginSuite):
    """The tests that every plugin passes."""

    plugin = "sft"
    folder = Path(__file__).parents[1]
