"""The quantizer ``hqq`` against the conformance suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith.errors import TunesmithError
from tunesmith.testing import PluginSuite, QuantizerSuite
from tunesmith_hqq.options import HqqOptions
from tunesmith_hqq.plugin import SPEC


class TestPlugin(PluginSuite):
    plugin = "hqq"
    folder = Path(__file__).parents[1]


class Case(QuantizerSuite):
    spec = SPEC
    options = (HqqOptions(),)


class TestFourBits(Case):
    bits = 4


class TestThreeBits(Case):
    bits = 3
    tolerance = 0.5


class TestEightBits(Case):
    bits = 8
    tolerance = 0.05


class TestOddGroups(Case):
    bits = 4
    options = (HqqOptions(hqq_group_size=48),)

    def test_rows_that_do_not_divide_are_refused(self, model_folder: Path) -> None:
        with pytest.raises(TunesmithError, match="hqq_group_size: 48 does not divide the 128 weights of a row"):
            self.loaded(model_folder)


for _name in [name for name in dir(QuantizerSuite) if name.startswith("test_")]:
    setattr(TestOddGroups, _name, None)
