"""Puts shifted groups into a model while it learns, and only then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import AttentionInterface, AttentionMaskInterface
from tunesmith import TunesmithError
from tunesmith.contracts import Accelerator

from tunesmith_longlora.checks import own_attention
from tunesmith_longlora.groups import padding_only, shifted_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

NAME = "shifted_groups"


class ShiftedGroups(Accelerator):
    """Names the attention of the model before each pass: in groups while it learns, the one it was loaded with otherwise."""

    def __init__(self, plan: Plan) -> None:
        self.calls = 0

    def after_load(self, model: PreTrainedModel) -> PreTrainedModel:
        """Tell transformers of the groups, and switch to them whenever the model learns.

        :raises TunesmithError: the model has attention of its own, which transformers cannot exchange.
        """
        inner: Any = model.base_model
        otherwise = own_attention(model.config.to_dict())
        if otherwise or not getattr(inner, "_supports_attention_backend", False):
            why = f"has {otherwise}" if otherwise else "computes attention in code of its own"
            raise TunesmithError(f"shift_attn: {type(model).__name__} {why}.", "Leave it out.")
        AttentionInterface.register(NAME, shifted_attention)
        AttentionMaskInterface.register(NAME, padding_only)
        usual = str(inner.config._attn_implementation)

        def choose(module: Any, _: Any) -> None:
            self.calls += module.training
            module.config._attn_implementation = NAME if module.training else usual

        inner.register_forward_pre_hook(choose)
        return model
