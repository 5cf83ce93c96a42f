"""The package as a plugin."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestVllmPlugin(PluginSuite):
    plugin = "vllm"
    folder = Path(__file__).parents[1]
