"""transformers' fused experts with the kernel behind them: the same module, the same names, another computation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tunesmith import TunesmithError

from tunesmith_ktransformers.kernel import Kernel, Sizes
from tunesmith_ktransformers.low_rank import DOWN, GATE_UP, Update, pack, rank_of, unpack, updates_of

_TICKETS = itertools.count(1)


@dataclass
class Kept:
    """Whose forward a place for intermediate results holds: the ticket of the last one that was kept there."""

    ticket: int = 0


@dataclass
class State:
    """What a layer's experts need beside torch's module; not a part of it, so that nothing is saved or moved."""

    kernel: Kernel
    wrappers: Sequence[Any]
    kept: Kept
    tokens: int
    seen: tuple[Any, ...] = ()
    calls: int = 0
    outdated: bool = field(default=True)

    def updates(self) -> list[Update]:
        """The low-rank updates that are in force.

        :raises TunesmithError: their rank is more than the kernel has room for.
        """
        found = updates_of(self.wrappers)
        if rank_of(found) > self.kernel.rank:
            what = f"The experts were given updates of rank {rank_of(found)}, and the kernel has room for {self.kernel.rank}."
            raise TunesmithError(what, "Put every adapter on before use_kt acts.")
        return found

    def follow(self, updates: Sequence[Update]) -> None:
        """Give the kernel the updates as they are now.

        Whether they have changed is seen by torch's own count of writes; that misses writes through ``.data``, which some
        optimizers do, and none steps without a backward: so after each backward they are copied in any case.
        """
        now = tuple((id(one.low), one.low._version, id(one.high), one.high._version, one.scale) for one in updates)
        if self.kernel.rank and (self.outdated or now != self.seen):
            pack(updates, self.kernel.update)
            self.kernel.updated()
            self.seen, self.outdated = now, False


class _Mix(torch.autograd.Function):  # type: ignore[misc]
    """Forward and backward by the kernel, in pieces of as many tokens as one call may take."""

    @staticmethod
    def forward(
        ctx: Any,
        state: State,
        updates: Sequence[Update],
        inputs: torch.Tensor,
        chosen: torch.Tensor,
        weights: torch.Tensor,
        *_: torch.Tensor,
    ) -> torch.Tensor:
        keep = any(ctx.needs_input_grad)
        given = (
            inputs.to("cpu", torch.bfloat16).contiguous(),
            chosen.to("cpu", torch.int64).contiguous(),
            weights.to("cpu", torch.float32).contiguous(),
        )
        state.follow(updates)
        state.calls += 1
        pieces = list(zip(*(one.split(state.tokens) for one in given), strict=True))
        output = torch.cat([state.kernel.forward(*piece, keep=keep) for piece in pieces])
        ctx.state, ctx.updates, ctx.like = state, updates, (inputs, weights)
        ctx.ticket = state.kept.ticket = next(_TICKETS) if keep else 0
        ctx.save_for_backward(*given)
        return output.to(inputs.device, inputs.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        state: State = ctx.state
        inputs, weights = ctx.like
        pieces = list(zip(*(one.split(state.tokens) for one in ctx.saved_tensors), strict=True))
        given = gradients[0].to("cpu", torch.bfloat16).contiguous().split(state.tokens)
        still_there = len(pieces) == 1 and state.kept.ticket == ctx.ticket
        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        total: list[torch.Tensor] = []
        for piece, gradient in zip(pieces, given, strict=True):
            if not still_there:
                state.kernel.forward(*piece, keep=True)
            found.append(state.kernel.backward(gradient))
            own = unpack(ctx.updates, state.kernel.gradients)
            total = [a + b for a, b in zip(total, own, strict=True)] if total else own
        state.kept.ticket, state.outdated = 0, True
        of_inputs = torch.cat([one for one, _ in found]).to(inputs.device, inputs.dtype)
        of_weights = torch.cat([one for _, one in found]).to(weights.device, weights.dtype)
        parameters = [tensor for one in ctx.updates for tensor in (one.low, one.high)]
        own = [gradient.to(one.device, one.dtype) for gradient, one in zip(total, parameters, strict=True)]
        return (None, None, of_inputs, None, of_weights, *own)


class KernelExperts:
    """Mixed in before a module of fused experts: forward by the kernel; its weights are gone, their shapes are kept."""

    kernel_state: State

    def forward(self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor) -> torch.Tensor:
        """(tokens, hidden), and the experts of each token with their weights, (tokens, chosen) both → (tokens, hidden)."""
        state = self.kernel_state
        updates = state.updates()
        parameters = [tensor for one in updates for tensor in (one.low, one.high)]
        answer: torch.Tensor = _Mix.apply(state, updates, hidden_states, top_k_index, top_k_weights, *parameters)
        return answer

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        """Stay where it is when the model is moved or cast: what it holds is the kernel's."""
        return self


# ---- putting it in ---------------------------------------------------------------------------------------------------

Make = Callable[[int, Sizes, int], Kernel]


def fused_experts(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Every module of fused experts in ``model``, with its name."""
    for name, module in model.named_modules():
        own = module._parameters
        if all(key in own and own[key] is not None and own[key].ndim == 3 for key in (GATE_UP, DOWN)):
            yield name, module


def check_kind(name: str, experts: Any) -> None:
    """Make sure that the kernel computes what ``experts`` do: silu(gate) · up, without biases, gate rows before up rows.

    :raises TunesmithError: they do something else.
    """
    plain = getattr(type(experts), "_apply_gate", None)
    act = getattr(experts, "act_fn", None)
    faults = {
        "have no gate": not getattr(experts, "has_gate", True),
        "have biases": getattr(experts, "has_bias", False),
        "hold their weights transposed": getattr(experts, "is_transposed", False),
        "mix the rows of gate and up": not getattr(experts, "is_concatenated", True),
        "have a norm of their own": getattr(experts, "has_post_expert_norm", False),
        "have a gate of their own": plain is not None and plain.__module__ != "transformers.integrations.moe",
        f"use {type(act).__name__}": act is not None and "silu" not in type(act).__name__.lower(),
    }
    if what := [words for words, wrong in faults.items() if wrong]:
        kinds = "DeepSeek, Qwen-MoE, GLM-MoE, Kimi and Mixtral models have experts that it can."
        raise TunesmithError(f"kt-kernel cannot compute {name}: these experts {' and '.join(what)}.", kinds)


def sizes_of(experts: Any, chosen: int) -> Sizes:
    """The sizes of a module of fused experts."""
    count, hidden, width = experts.down_proj.shape
    return Sizes(count, chosen, hidden, width)


def put_in(model: torch.nn.Module, make: Make, *, retain: bool, tokens: int, chosen: int) -> int:
    """Put a kernel behind every module of fused experts, one layer after the other, and let go of torch's weights.

    :param make: ``make(number, sizes, rank)`` gives the kernel of one layer, to be loaded here unless it is already.
    :param retain: each layer has a place of its own for what its forward computed.
    :return: how many layers.
    :raises TunesmithError: there are no such modules, or they compute what the kernel cannot.
    """
    found = list(fused_experts(model))
    for name, experts in found:
        check_kind(name, experts)
    shared = Kept()
    for number, (_, experts) in enumerate(found):
        wrappers = [one for one in model.modules() if _wraps(one, experts)]
        rank = rank_of(updates_of(wrappers))
        kernel = make(number, sizes_of(experts, chosen), rank)
        _hand_over(experts, kernel)
        experts.__class__ = type(f"Kernel{type(experts).__name__}", (KernelExperts, type(experts)), {})
        experts.__dict__["kernel_state"] = State(kernel, wrappers, Kept() if retain else shared, tokens)
        for wrapper in wrappers:
            _step_aside(wrapper)
    return len(found)


def _wraps(module: Any, experts: Any) -> bool:
    return hasattr(module, "parameter_name") and hasattr(module, "lora_A") and module.get_base_layer() is experts


def _hand_over(experts: Any, kernel: Any) -> None:
    """Move the weights into the kernel; what stays has a shape and no memory."""
    if not getattr(kernel, "filled", False):
        gate, up = experts.gate_up_proj.data.chunk(2, dim=1)
        kernel.load(gate, up, experts.down_proj.data)
    for name in (GATE_UP, DOWN):
        shape = experts._parameters[name].shape
        empty = torch.empty(shape, dtype=torch.bfloat16, device="meta")
        experts._parameters[name] = torch.nn.Parameter(empty, requires_grad=False)


def _step_aside(wrapper: Any) -> None:
    """peft's wrapper would add the update to torch's weights: the kernel has it already, and those are gone."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        return wrapper.base_layer(*args, **kwargs)

    def merge(*_: Any, **__: Any) -> None:
        what = "Adapters cannot be merged into experts that are in the kernel."
        raise TunesmithError(what, "Merge without use_kt: tunesmith export.")

    wrapper.forward, wrapper.merge = forward, merge
