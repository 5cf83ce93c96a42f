"""Training arguments that transformers takes as they are and would stumble over only after the model is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import Trainer, get_scheduler
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

from tunesmith.errors import ConfigError, Problem, nearest
from tunesmith.plan import Plan

STEPS = 100
#: Trackers that transformers does not count among those that are here, whether they are or not.
NEVER_LISTED = ("flyte", "kubeflow")


def check_arguments(args: Any, plan: Plan) -> None:
    """Try what can be tried without a model: trackers, the optimizer's package, the scheduler's own arguments.

    :raises ConfigError: names the keys.
    """
    problems = [*_trackers(args, plan), *_optimizer(args, plan), *_scheduler(args, plan)]
    if problems:
        raise ConfigError(problems)


def _trackers(args: Any, plan: Plan) -> Iterator[Problem]:
    here = get_available_reporting_integrations() if args.report_to else ()  # it imports those that it finds
    for name in args.report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            hint = nearest(name, INTEGRATION_TO_CALLBACK) or f"There are {', '.join(INTEGRATION_TO_CALLBACK)}, none and all."
            yield Problem(_where(plan, "report_to"), f"report_to: there is no tracker {name!r}", hint)
        elif name not in (*here, *NEVER_LISTED):
            what = f"report_to: the package of {name} is not installed"
            yield Problem(_where(plan, "report_to"), what, f"pip install {name}")


def _optimizer(args: Any, plan: Plan) -> Iterator[Problem]:
    if any(plan.picked("optimizers")):
        return
    try:
        Trainer.get_optimizer_cls_and_kwargs(args)
    except ImportError as error:
        what = f"optim: {args.optim.value} needs a package that is not installed"
        yield Problem(_where(plan, "optim"), what, str(error).strip().partition("\n")[0])
    except (ValueError, AttributeError):  # it wants to see the model, and will
        return


def _scheduler(args: Any, plan: Plan) -> Iterator[Problem]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=args.learning_rate)
    try:
        get_scheduler(
            args.lr_scheduler_type, optimizer, args.get_warmup_steps(STEPS), STEPS, dict(args.lr_scheduler_kwargs or {})
        )
    except (ValueError, TypeError, KeyError) as error:
        key = "lr_scheduler_kwargs" if args.lr_scheduler_kwargs else "lr_scheduler_type"
        yield Problem(_where(plan, key), f"lr_scheduler_type: {args.lr_scheduler_type.value} cannot start: {error}")


def _where(plan: Plan, key: str) -> str:
    setting = plan.settings.get(key)
    return setting.origin if setting and setting.given else ""
