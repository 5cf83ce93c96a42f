"""What the package declares."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestMultimodalPlugin(PluginSuite):
    """The plugin as every plugin."""

    plugin = "multimodal"
    folder = Path(__file__).parents[1]
