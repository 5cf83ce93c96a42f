"""``torch.optim.Muon`` for matrices and ``torch.optim.AdamW`` for the rest, as one optimizer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from tunesmith.contracts import Optimizer
from tunesmith.errors import TunesmithError
from tunesmith.runtime.weight_by_weight import adam_defaults
from tunesmith.runtime.weight_groups import split

from tunesmith_muon.options import MuonOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

log = logging.getLogger("tunesmith.muon")


class MuonOptimizer(Optimizer):
    """Muon for matrices that are no tables of vectors (Jordan et al. 2024, kellerjordan.github.io/posts/muon)."""

    def __init__(self, plan: Plan) -> None:
        self.options = plan.options(MuonOptions)

    def build(self, model: PreTrainedModel, groups: list[dict[str, Any]], arguments: Any) -> torch.optim.Optimizer:
        """Over ``groups``, each parted into matrices and the rest.

        :raises TunesmithError: no matrix learns.
        """
        chosen = matrices(model)
        parts = split(groups, chosen, {"muon": True})
        ours = [{key: value for key, value in group.items() if key != "muon"} for group in parts if "muon" in group]
        rest = [group for group in parts if "muon" not in group]
        if not ours:
            raise TunesmithError("use_muon: no matrix of this model learns.", "Leave use_muon out.")
        count = sum(len(group["params"]) for group in ours)
        log.info("muon moves %d matrices, AdamW %d other weights", count, sum(len(group["params"]) for group in rest))
        muon = torch.optim.Muon(
            ours,
            lr=arguments.learning_rate,
            weight_decay=arguments.weight_decay,
            momentum=self.options.muon_momentum,
            adjust_lr_fn=self.options.muon_adjust_lr,
        )
        return Together(muon, *([torch.optim.AdamW(rest, **adam_defaults(arguments))] if rest else []))


def matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """Learning weights of two dimensions, without embeddings and the output head."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    head = model.get_output_embeddings()
    if head is not None:
        tables |= {id(weight) for weight in head.parameters()}
    return [weight for weight in model.parameters() if weight.requires_grad and weight.ndim == 2 and id(weight) not in tables]


class Together(torch.optim.Optimizer):
    """Several optimizers that step together, with one list of groups for schedulers and one state for checkpoints."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([{**group} for part in parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        """A rate that a scheduler sets has to reach the optimizer whose group it is."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Every part's step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of all parts, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
