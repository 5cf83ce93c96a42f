"""The package as a plugin."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestBatchPlugin(PluginSuite):
    plugin = "batch"
    folder = Path(__file__).parents[1]
