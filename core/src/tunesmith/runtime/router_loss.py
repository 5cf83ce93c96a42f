"""The loss that keeps the experts of a mixture equally busy (Shazeer et al. 2017, arXiv:1701.06538; Fedus et al. 2021,
arXiv:2101.03961, §2.2), as the models of transformers compute it."""

from __future__ import annotations

from typing import Any

import torch

from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan

KEY = "moe_aux_loss_coef"


def router_weight(plan: Plan) -> float:
    """``moe_aux_loss_coef``, 0 where it is not given."""
    return float(plan[KEY] or 0.0) if KEY in plan.settings else 0.0


def balance(config: Any, plan: Plan) -> None:
    """Write the weight into a model's configuration.

    :raises TunesmithError: transformers has no such loss for this kind of model.
    """
    if KEY not in plan.settings or plan[KEY] is None:
        return
    if not hasattr(config, "router_aux_loss_coef"):
        what = f"{KEY}: transformers has no such loss for a model of type {config.model_type}."
        raise TunesmithError(what, f"Leave {KEY} out.")
    config.router_aux_loss_coef = router_weight(plan)


def router_loss(outputs: Any) -> torch.Tensor:
    """The loss in the output of a model that was asked for ``output_router_logits``, before it is weighed.

    :raises TunesmithError: an accelerator computes the output in a way that leaves it out.
    """
    found = outputs.get("aux_loss") if hasattr(outputs, "get") else None
    if not isinstance(found, torch.Tensor):
        raise TunesmithError(f"{KEY}: the router's loss is not in what the model computes here.", f"Leave {KEY} out.")
    return found
