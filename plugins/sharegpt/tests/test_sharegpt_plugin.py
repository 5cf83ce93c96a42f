"""The package keeps the rules for plugins."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PluginSuite


class TestSharegptPlugin(PluginSuite):
    """Metadata, entry point, options, imports."""

    plugin = "sharegpt"
    folder = Path(__file__).parents[1]
