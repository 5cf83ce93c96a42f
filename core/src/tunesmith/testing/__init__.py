"""The conformance kit: suites of tests that a plugin package runs against itself.

A package subclasses a suite for each kind of thing it offers, says which thing is meant, and pytest does the rest::

    # tests/test_plugin.py
    from pathlib import Path
    from tunesmith.testing import PluginSuite

    class TestPlugin(PluginSuite):
        plugin = "acme"
        folder = Path(__file__).parents[1]

Every package needs the :class:`PluginSuite`; the others are for the axis in their name. ``tunesmith new KIND NAME`` writes
a package that already does this. :mod:`tunesmith.testing.fixtures` has fixtures: a tiny model, a tiny dataset, plans.

A suite is imported when its name is first used, so that testing a format does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

#: Each suite and the module of this package that holds it.
SUITES = {
    "PluginSuite": "plugin_suite",
    "TemplateSuite": "template_suite",
    "ToolSyntaxSuite": "tool_syntax_suite",
    "SourceSuite": "source_suite",
    "FormatSuite": "format_suite",
    "TunerSuite": "tuner_suite",
    "TrainerSuite": "trainer_suite",
    "OptimizerSuite": "optimizer_suite",
    "AcceleratorSuite": "accelerator_suite",
    "QuantizerSuite": "quantizer_suite",
    "PackedLayersSuite": "packed_layers_suite",
    "BackendSuite": "backend_suite",
    "EngineSuite": "engine_suite",
    "RewardSuite": "reward_suite",
    "ToolSuite": "tool_suite",
    "StrategySuite": "strategy_suite",
    "LauncherSuite": "launcher_suite",
}

pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in {*SUITES.values(), "fixtures"}))

__all__ = list(SUITES)


def __getattr__(name: str) -> Any:
    if name not in SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{SUITES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *SUITES])
