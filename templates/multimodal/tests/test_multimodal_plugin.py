"""What the package declares."""

from __future__ import annotations

from tunesmith.testing import PluginSuite


class TestMultimodalPlugin(PluginSuite):
    """The plugin as every plugin."""

    plugin = "multimodal"
