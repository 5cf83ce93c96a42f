"""The package as a plugin."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestSglangPlugin(PluginSuite):
    plugin = "sglang"
    folder = Path(__file__).parents[1]
