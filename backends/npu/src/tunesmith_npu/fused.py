"""torch-npu's fused operators in one model: RMS norm, SwiGLU, rotary embedding and attention.

The operators and their arguments: https://gitcode.com/Ascend/op-plugin (``npu_rms_norm``, ``npu_swiglu``, ``npu_rotary_mul``,
``npu_fusion_attention``). A part of a model is exchanged only where it computes what the operator computes, tried out on a few
numbers: a norm that adds one to its weight (Gemma's) stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from tunesmith import TunesmithError
from tunesmith.contracts import Accelerator

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

log = logging.getLogger(__name__)

#: transformers' name of the attention that :func:`attention` computes.
ATTENTION = "npu_fusion_attention"
ROTARY = "apply_rotary_pos_emb"
#: A norm's names for the small number under its root.
EPSILONS = ("variance_epsilon", "eps")


class FusedOperators(Accelerator):
    """Exchanges the parts of a loaded model that have a fused operator."""

    def __init__(self, plan: Plan) -> None:
        self._operators = import_module("torch_npu")
        self.exchanged: dict[str, int] = {}

    def after_load(self, model: PreTrainedModel) -> PreTrainedModel:
        """Exchange what can be.

        :raises TunesmithError: nothing of this model has a fused operator.
        """
        parts = list(model.modules())
        self.exchanged = {
            "norms": sum(map(self._norm, parts)),
            "SwiGLU layers": sum(map(self._swiglu, parts)),
            "rotary embeddings": sum(map(self._rotary, parts)),
            "attention layers": self._attention(model),
        }
        if not any(self.exchanged.values()):
            raise TunesmithError(
                f"npu_fused_operators: nothing of {type(model).__name__} has one.", "Leave npu_fused_operators out."
            )
        log.info("Fused: %s.", ", ".join(f"{count} {name}" for name, count in self.exchanged.items()))
        return model

    # -- parts -----------------------------------------------------------------------------------------------------

    def _norm(self, part: nn.Module) -> bool:
        epsilon = next((getattr(part, name) for name in EPSILONS if isinstance(getattr(part, name, None), float)), None)
        if epsilon is None or not type(part).__name__.endswith("RMSNorm") or not _is_plain_norm(part, epsilon):
            return False
        part.forward = MethodType(_norm_by(self._operators.npu_rms_norm, epsilon), part)
        return True

    def _swiglu(self, part: nn.Module) -> bool:
        names = {name for name, _ in part.named_children()}
        if names != {"gate_proj", "up_proj", "down_proj", "act_fn"} or not _is_silu(part.act_fn):
            return False
        part.forward = MethodType(_swiglu_by(self._operators.npu_swiglu), part)
        return True

    def _rotary(self, part: nn.Module) -> bool:
        """Let the attention of this part, and of no other model, rotate by the fused operator."""
        usual = type(part).forward
        known = getattr(usual, "__globals__", {})
        if "forward" in vars(part) or ROTARY not in getattr(usual, "__code__", usual).co_names:
            return False
        if not _is_half_rotation(known.get(ROTARY)):
            return False
        own = FunctionType(
            usual.__code__, {**known, ROTARY: self._rotate}, usual.__name__, usual.__defaults__, usual.__closure__
        )
        own.__kwdefaults__ = usual.__kwdefaults__
        part.forward = MethodType(own, part)
        return True

    def _rotate(self, q: Any, k: Any, cos: Any, sin: Any, *_: Any, unsqueeze_dim: int = 1) -> tuple[Any, Any]:
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        fused = self._operators.npu_rotary_mul
        return fused(q, cos.to(q.dtype), sin.to(q.dtype)), fused(k, cos.to(k.dtype), sin.to(k.dtype))

    def _attention(self, model: PreTrainedModel) -> int:
        """Attention layers, where the run has not chosen another kernel than torch's."""
        from transformers import AttentionInterface
        from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

        if model.config._attn_implementation != "sdpa":
            return 0
        AttentionInterface.register(ATTENTION, self.attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.set_attn_implementation(ATTENTION)
        return sum(hasattr(part, "is_causal") for part in model.modules())

    def attention(self, module: Any, query: Any, key: Any, value: Any, mask: Any, **given: Any) -> tuple[Any, None]:
        """Attention over (batch, heads, length, width) → (batch, length, heads, width), as transformers calls it.

        :param mask: what may be seen, as booleans or as numbers to be added (then 0 is seen); ``None`` for all before.
        """
        if mask is None:
            causal = given.get("is_causal")
            hidden = _later(query, key) if (module.is_causal if causal is None else causal) else None
        else:
            hidden = ~mask if mask.dtype is torch.bool else mask < 0
        scale = given.get("scaling")
        found = self._operators.npu_fusion_attention(
            query,
            key,
            value,
            query.shape[1],
            "BNSD",
            atten_mask=hidden,
            scale=query.shape[-1] ** -0.5 if scale is None else scale,
            keep_prob=1.0 - given.get("dropout", 0.0),
        )
        return found[0].transpose(1, 2).contiguous(), None


def _later(query: Any, key: Any) -> Any:
    """(length, length of keys) where the key comes after the query, both ending at the same place."""
    seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
    return ~seen.tril(diagonal=key.shape[2] - query.shape[2])


def _norm_by(fused: Callable[..., Any], epsilon: float) -> Callable[[Any, Any], Any]:
    def forward(self: Any, hidden_states: Any) -> Any:
        return fused(hidden_states, self.weight.to(hidden_states.dtype), epsilon=epsilon)[0]

    return forward


def _swiglu_by(fused: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def forward(self: Any, x: Any) -> Any:
        return self.down_proj(fused(torch.cat([self.gate_proj(x), self.up_proj(x)], dim=-1), dim=-1))

    return forward


# ---- what a part computes, found out by trying ------------------------------------------------------------------------


def _same(tried: Callable[[], Any], expected: Any) -> bool:
    try:
        found = tried()
    except (TypeError, ValueError, RuntimeError):  # a part that is called in another way is another part
        return False
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    return all(isinstance(one, torch.Tensor) and torch.allclose(one.float(), other.float(), atol=1e-2) for one, other in pairs)


@torch.no_grad()
def _is_plain_norm(part: nn.Module, epsilon: float) -> bool:
    """Whether ``part`` is x / sqrt(mean(x²) + epsilon) · weight."""
    weight = getattr(part, "weight", None)
    if weight is None or weight.dim() != 1:
        return False
    x = torch.linspace(-1, 1, weight.numel(), device=weight.device).to(weight.dtype)[None, None]
    scaled = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + epsilon)
    return _same(lambda: part(x), scaled * weight.float())


@torch.no_grad()
def _is_silu(function: Any) -> bool:
    x = torch.linspace(-2, 2, 8)
    return _same(lambda: function(x), x * torch.sigmoid(x))


@torch.no_grad()
def _is_half_rotation(function: Any) -> bool:
    """Whether ``function`` turns the first half of each head against the second, as ``npu_rotary_mul`` does by default."""
    if function is None:
        return False
    q = torch.linspace(-1, 1, 16).reshape(1, 1, 2, 8)
    angle = torch.linspace(0, 1, 16).reshape(1, 2, 8)
    turned = torch.cat((-q[..., 4:], q[..., :4]), dim=-1)
    expected = q * angle.cos()[:, None] + turned * angle.sin()[:, None]
    return _same(lambda: function(q, q, angle.cos(), angle.sin()), (expected, expected))
