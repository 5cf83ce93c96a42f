"""A plugin with a stage that works with three models, for the tests of roles."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith import TrainerSpec, hookimpl
from tunesmith.roles import POLICY, REFERENCE, REWARD, ReferenceOptions, RewardModelOptions

TUNESMITH_API = (1, 0)


@dataclass(frozen=True)
class ThreeOptions(ReferenceOptions, RewardModelOptions):
    """The keys of both roles."""


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """One stage."""
    return [
        TrainerSpec(
            "three",
            "tunesmith.testing.small_trainer:SmallStage",
            "Works with three models.",
            options=ThreeOptions,
            wants=("conversation",),
            roles=(POLICY, REFERENCE, REWARD),
        )
    ]
