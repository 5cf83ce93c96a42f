"""The quantizer ``gptq``: what its package says, and models that say they are quantised by it."""

from __future__ import annotations

from pathlib import Path

from tunesmith.testing import PackedLayersSuite, PluginSuite
from tunesmith_gptq.plugin import SPEC


class TestPlugin(PluginSuite):
    plugin = "gptq"
    folder = Path(__file__).parents[1]


class TestPackedLayers(PackedLayersSuite):
    plugin = "gptq"
    spec = SPEC
    layer = "BaseQuantLinear"
