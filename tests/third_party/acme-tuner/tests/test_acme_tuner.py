from pathlib import Path

from acme_tuner.options import ScaleOptions
from acme_tuner.plugin import SCALE
from tunesmith.testing import PluginSuite, TunerSuite


class TestPlugin(PluginSuite):
    plugin = "acme-tuner"
    folder = Path(__file__).parents[1]


class TestScale(TunerSuite):
    spec = SCALE
    options = (ScaleOptions(scale_target=("q_proj", "down_proj")),)

    def learns(self, name):
        return name.endswith(".factors")
