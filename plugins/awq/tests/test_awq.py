"""The quantizer ``awq``: what its package says, and models that say they are quantised by it."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PackedLayersSuite, PluginSuite
from tunesmith_awq.plugin import SPEC


class TestPlugin(PluginSuite):
    plugin = "awq"
    folder = Path(__file__).parents[1]


class TestPackedLayers(PackedLayersSuite):
    plugin = "awq"
    spec = SPEC
    layer = "BaseQuantLinear"
