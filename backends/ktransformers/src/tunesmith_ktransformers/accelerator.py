"""Experts on the processor, for models that learn or only answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.contracts import Accelerator

from tunesmith_ktransformers.checks import planned_wishes
from tunesmith_ktransformers.expert_files import ExpertFiles
from tunesmith_ktransformers.experts import fused_experts, put_in
from tunesmith_ktransformers.facts import facts_of
from tunesmith_ktransformers.kernel import Kernel, KtKernel, Sizes, Tuning, kt_kernel
from tunesmith_ktransformers.options import KtOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

log = logging.getLogger(__name__)


class KTransformers(Accelerator):
    """Reads a model into memory, and puts kt-kernel behind its fused experts once adapters and number formats are in place.

    peft's parameters stay what learns, is saved and is merged; the kernel computes with copies.
    """

    kernel: Any = KtKernel

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def before_load(self, plan: Plan) -> None:
        """Import the kernel before a large model is read for nothing."""
        kt_kernel()

    def placement(self, placement: Mapping[str, Any]) -> Mapping[str, Any]:
        """Into memory: experts never see the device."""
        return {**placement, "device_map": {"": "cpu"}} if "device_map" in placement else placement

    def after_tuner(self, model: PreTrainedModel) -> PreTrainedModel:
        """Move the experts into the kernel.

        :raises TunesmithError: they are of a kind or size that it cannot compute.
        """
        wishes, options = planned_wishes(self.plan), self.plan.options(KtOptions)
        tuning = Tuning(wishes.bits, wishes.threads, wishes.pools, wishes.tokens, wishes.retain, wishes.share_backward)
        facts = facts_of(model.config.to_dict())
        if facts is None:  # a model beside the one that learns, which is no mixture
            return model
        names = [name for name, _ in fused_experts(model)]
        others = ExpertFiles(Path(options.kt_expert_checkpoint_path)) if options.kt_expert_checkpoint_path else None

        def make(number: int, sizes: Sizes, rank: int) -> Kernel:
            kernel: Any = self.kernel(number, sizes, tuning, rank)
            if options.kt_weight_path:
                kernel.load_files(Path(options.kt_weight_path).expanduser())
            elif others is not None:
                kernel.load(*others.experts(names[number]))
            kernel.filled = bool(options.kt_weight_path or others)
            return kernel  # type: ignore[no-any-return]

        layers = put_in(model, make, retain=tuning.retain, tokens=tuning.tokens, chosen=facts.chosen)
        for module in model.modules():
            module.__dict__.pop("hf_device_map", None)  # it says that all is in memory; the rest is about to be moved
        log.info("experts of %d layers are in kt-kernel, in %d bits, on %d threads", layers, tuning.bits, tuning.threads)
        return model
