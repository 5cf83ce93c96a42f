from pathlib import Path

from acme_template.plugin import tunesmith_templates
from tunesmith.testing import PluginSuite, TemplateSuite


class TestPlugin(PluginSuite):
    plugin = "acme-template"
    folder = Path(__file__).parents[1]


class TestAcme(TemplateSuite):
    template = tunesmith_templates()[0]
    goldens = Path(__file__).parent / "acme.jsonl"
