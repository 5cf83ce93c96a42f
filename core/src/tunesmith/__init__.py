"""Fine-tune, serve and export large language models; everything that does work comes from plugins.

This module holds the names a plugin author needs. To run things from Python, see :mod:`tunesmith.api`.
"""

from __future__ import annotations

import pluggy

from tunesmith.errors import Lacking, Notice, Problem, TunesmithError
from tunesmith.specs import (
    AcceleratorSpec,
    AdapterMark,
    BackendSpec,
    CallbackSpec,
    CommandSpec,
    EngineSpec,
    EvaluatorSpec,
    ExporterSpec,
    FormatSpec,
    LauncherSpec,
    MediaSpec,
    MetricSpec,
    ModelCatalogueSpec,
    OptimizerSpec,
    QuantizerSpec,
    RewardSpec,
    Role,
    Scene,
    SourceSpec,
    StackSpec,
    StrategySpec,
    Switch,
    TemplateSpec,
    ToolSpec,
    ToolSyntaxSpec,
    TrackerSpec,
    TrainerSpec,
    TunerSpec,
)

__version__ = "0.1.0"

#: (major, minor) of the plugin interface: a plugin's major must match, its minor must not be larger.
API_VERSION = (1, 0)

hookspec = pluggy.HookspecMarker("tunesmith")
hookimpl = pluggy.HookimplMarker("tunesmith")

__all__ = [
    "API_VERSION",
    "AcceleratorSpec",
    "AdapterMark",
    "BackendSpec",
    "CallbackSpec",
    "CommandSpec",
    "EngineSpec",
    "EvaluatorSpec",
    "ExporterSpec",
    "FormatSpec",
    "Lacking",
    "LauncherSpec",
    "MediaSpec",
    "MetricSpec",
    "ModelCatalogueSpec",
    "Notice",
    "OptimizerSpec",
    "Problem",
    "QuantizerSpec",
    "RewardSpec",
    "Role",
    "Scene",
    "SourceSpec",
    "StackSpec",
    "StrategySpec",
    "Switch",
    "TemplateSpec",
    "ToolSpec",
    "ToolSyntaxSpec",
    "TrackerSpec",
    "TrainerSpec",
    "TunerSpec",
    "TunesmithError",
    "hookimpl",
    "hookspec",
]
