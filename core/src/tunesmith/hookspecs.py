"""Every hook, in the order a run meets them. Read this first; the reference pages are generated from it.

A run calls them like this::

    tunesmith train run.yaml
      ├─ collect        each hook of the first group, once, when its names are first looked at
      ├─ check_plan     once, when the plan is complete and before anything heavy is imported
      ├─ run_started    once, when all live objects exist
      ├─ step_ended     after each optimizer step
      └─ run_ended      once, whatever happened

The *collect* hooks return specs, and the order in which plugins answer must not matter. The *veto* hook returns problems.
The *tell* hooks return nothing. Work is never done in a hook: it is done by the object behind a spec that the run picked
(see :mod:`tunesmith.contracts`). No hook is called per row or per token.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tunesmith import hookspec, specs
from tunesmith.errors import Notice, Problem

if TYPE_CHECKING:
    from tunesmith.contracts import Outcome
    from tunesmith.plan import Plan
    from tunesmith.runtime.session import Session

# ---- collect: what is on offer -------------------------------------------------------------------------------------


@hookspec
def tunesmith_commands() -> Iterable[specs.CommandSpec]:
    """Subcommands of ``tunesmith``. Called for every command line, so the spec must cost nothing."""


@hookspec
def tunesmith_sources() -> Iterable[specs.SourceSpec]:
    """Places that rows come from, each asked for by its own key of ``dataset_info.json``."""


@hookspec
def tunesmith_formats() -> Iterable[specs.FormatSpec]:
    """Ways to read a row as a conversation, preference, feedback, document or prompt."""


@hookspec
def tunesmith_templates() -> Iterable[specs.TemplateSpec]:
    """Model templates; :func:`tunesmith.templates.templates_in` lists those of a folder of TOML files."""


@hookspec
def tunesmith_tool_syntaxes() -> Iterable[specs.ToolSyntaxSpec]:
    """Named ways to write tool declarations, calls and results, for templates to refer to."""


@hookspec
def tunesmith_models() -> Iterable[specs.ModelCatalogueSpec]:
    """Catalogues of published model names and the template each was trained with."""


@hookspec
def tunesmith_media() -> Iterable[specs.MediaSpec]:
    """Readers of images, videos and audio."""


@hookspec
def tunesmith_tuners() -> Iterable[specs.TunerSpec]:
    """Ways to choose which weights learn, picked by ``finetuning_type``."""


@hookspec
def tunesmith_trainers() -> Iterable[specs.TrainerSpec]:
    """Training stages, picked by ``stage``."""


@hookspec
def tunesmith_rewards() -> Iterable[specs.RewardSpec]:
    """Reward functions for stages that generate."""


@hookspec
def tunesmith_tools() -> Iterable[specs.ToolSpec]:
    """Things that a model may call while it answers, in stages that generate."""


@hookspec
def tunesmith_optimizers() -> Iterable[specs.OptimizerSpec]:
    """Optimizers beyond transformers' own, each turned on by its switch."""


@hookspec
def tunesmith_quantizers() -> Iterable[specs.QuantizerSpec]:
    """Ways to hold weights in few bits, picked by ``quantization_method``."""


@hookspec
def tunesmith_accelerators() -> Iterable[specs.AcceleratorSpec]:
    """Things that make the same computation faster or smaller, each turned on by its switch."""


@hookspec
def tunesmith_backends() -> Iterable[specs.BackendSpec]:
    """Devices that a run can use, picked by ``backend`` or by the best one that is here."""


@hookspec
def tunesmith_launchers() -> Iterable[specs.LauncherSpec]:
    """Ways to start the processes of a run, here and on other machines."""


@hookspec
def tunesmith_strategies() -> Iterable[specs.StrategySpec]:
    """Ways in which the processes of a run share one model."""


@hookspec
def tunesmith_engines() -> Iterable[specs.EngineSpec]:
    """Things that generate text, picked by ``infer_backend``."""


@hookspec
def tunesmith_stacks() -> Iterable[specs.StackSpec]:
    """Locked sets of packages for virtual environments of their own."""


@hookspec
def tunesmith_trackers() -> Iterable[specs.TrackerSpec]:
    """Places that metrics are sent to, beyond what transformers knows itself."""


@hookspec
def tunesmith_callbacks() -> Iterable[specs.CallbackSpec]:
    """transformers callbacks that a configuration may name."""


@hookspec
def tunesmith_metrics() -> Iterable[specs.MetricSpec]:
    """Measures of predictions against labels that a configuration may name."""


@hookspec
def tunesmith_evaluators() -> Iterable[specs.EvaluatorSpec]:
    """Benchmarks for the ``eval`` command."""


@hookspec
def tunesmith_exporters() -> Iterable[specs.ExporterSpec]:
    """Forms in which a trained model can be shipped."""


# ---- veto: what speaks against this run ------------------------------------------------------------------------------


@hookspec
def tunesmith_check_plan(plan: Plan) -> Iterable[Problem | Notice]:
    """Say what makes this plan impossible, or what its user should know; all answers of all plugins are reported together.

    Called for every plan, also when nothing of this plugin was picked. Must not import torch. What only this machine lacks is
    a :class:`tunesmith.errors.Lacking`: a plan can be made all the same, and not carried out here.
    """


# ---- tell: what happens ----------------------------------------------------------------------------------------------


@hookspec
def tunesmith_run_started(session: Session) -> None:
    """All live objects of the run exist; nothing has been trained yet."""


@hookspec
def tunesmith_step_ended(session: Session, step: int) -> None:
    """Optimizer step ``step`` (counted from 1) is done. Called on every process."""


@hookspec
def tunesmith_run_ended(session: Session, outcome: Outcome | None) -> None:
    """The run is over; ``outcome`` is ``None`` when it ended in an error. The session is still open."""
