"""Every package of this repository runs the suite that third parties run."""

from __future__ import annotations

import pytest
from checkout import Package, plugin_packages


@pytest.mark.parametrize("package", plugin_packages(), ids=str)
def test_a_package_runs_the_plugin_suite(package: Package) -> None:
    texts = [file.read_text(encoding="utf-8") for file in (package.folder / "tests").glob("test_*.py")]
    assert any("(PluginSuite)" in text and f'plugin = "{package.plugin}"' in text for text in texts)
