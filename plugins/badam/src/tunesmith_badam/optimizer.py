"""BAdam: Adam on one layer, or on a share of every weight, after the other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from transformers.integrations import is_deepspeed_zero3_enabled
from tunesmith.contracts import Optimizer
from tunesmith.errors import TunesmithError
from tunesmith.runtime.weight_by_weight import WeightByWeight, adam_defaults

from tunesmith_badam.blocks import block_of
from tunesmith_badam.layers import LayersInTurn, Turns
from tunesmith_badam.options import BadamOptions
from tunesmith_badam.parts import LayersInParts
from tunesmith_badam.shares import Share

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

log = logging.getLogger("tunesmith.badam")


class BadamOptimizer(Optimizer):
    """Adam whose memory is that of what learns at a time."""

    def __init__(self, plan: Plan) -> None:
        self.options = plan.options(BadamOptions)

    def build(self, model: PreTrainedModel, groups: list[dict[str, Any]], arguments: Any) -> torch.optim.Optimizer:
        """By layers or by shares, as ``badam_mode`` says.

        :raises TunesmithError: the model has no layer that learns, or not that many.
        """
        interval = max(0, self.options.badam_switch_interval or 0)
        if self.options.badam_mode == "layer":
            return self._by_layers(model, groups, arguments, interval)
        seeds = {weight: arguments.seed + n for n, weight in enumerate(model.parameters())}
        share = Share(self.options.badam_update_ratio, interval, self.options.badam_mask_mode == "scatter", seeds)
        return WeightByWeight(groups, share.step, adam_defaults(arguments))

    def _by_layers(
        self, model: PreTrainedModel, groups: list[dict[str, Any]], arguments: Any, interval: int
    ) -> torch.optim.Optimizer:
        layers = self._layers(model)
        # Reentrant checkpoints pass no gradient on unless their input asks for one, and the embedding may not learn.
        model.enable_input_require_grads()
        mode = self.options.badam_switch_mode or "ascending"
        turns = Turns(mode, interval, self.options.badam_start_block, arguments.seed, self.options.badam_verbose)
        if not is_deepspeed_zero3_enabled():
            return LayersInTurn(groups, layers, turns, adam_defaults(arguments))
        parts = LayersInParts(groups, layers, turns, adam_defaults(arguments))
        model.register_forward_pre_hook(parts.take_turn)
        return parts

    def _layers(self, model: PreTrainedModel) -> dict[str, dict[str, torch.Tensor]]:
        layers: dict[str, dict[str, torch.Tensor]] = {}
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                layers.setdefault(block_of(name), {})[name] = weight
        if left := layers.pop("", {}):
            log.info("badam_mode: layer leaves these as they are: %s", ", ".join(left))
        if not layers:
            raise TunesmithError(
                "use_badam: no layer of this model learns.", "Write badam_mode: ratio, or leave use_badam out."
            )
        if (self.options.badam_start_block or 0) >= len(layers):
            what = f"badam_start_block is {self.options.badam_start_block}, and {len(layers)} layers learn."
            raise TunesmithError(what, f"Write a number up to {len(layers) - 1}.")
        return layers
