"""What this package offers: the tuners ``full`` and ``freeze``."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith import Problem, TunerSpec, hookimpl
from tunesmith.plan import Plan

from tunesmith_full.options import FreezeOptions

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_tuners() -> list[TunerSpec]:
    """Both save whole models, which need no mark: they load like any other."""
    return [
        TunerSpec("full", "tunesmith_full.tuners:FullTuner", "Every weight of the model learns."),
        TunerSpec(
            "freeze",
            "tunesmith_full.tuners:FreezeTuner",
            "Chosen layers and modules of the model learn, the rest stays.",
            options=FreezeOptions,
            trainable="tunesmith_full.counting:count_unfrozen",
        ),
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """A frozen model that has nothing left to learn is known before it is loaded."""
    if any(chosen.name == "freeze" for chosen in plan.picked("tuners")):
        options = plan.options(FreezeOptions)
        if not options.freeze_trainable_layers and not options.freeze_extra_modules:
            origin = plan.settings["freeze_trainable_layers"].origin
            yield Problem(origin, "freeze_trainable_layers: 0 leaves nothing to learn", "Name freeze_extra_modules: too.")
