"""AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): ranks move to the weights where they matter, step by step.

peft has to be told of every step, and adds the orthogonality term to a loss that not every stage takes from the model. Here
both happen in a callback: the term's gradient joins that of the loss, and the loss that is reported stays the task's.
"""

from __future__ import annotations

from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.tuners_utils import BaseTuner
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback
from tunesmith import TunesmithError

from tunesmith_lora.folder import write_plain
from tunesmith_lora.peft_kinds import kinds
from tunesmith_lora.peft_tuner import PeftTuner

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.runtime.session import Session

STATE = "adalora_state.safetensors"
#: Stands for the number of steps until it is known, when training begins.
UNKNOWN = 2**31


class AdaloraTuner(PeftTuner):
    """Keeps what the allocation of ranks knows beside the adapter, so that a resumed run goes on exactly."""

    kind = kinds()["adalora"]

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Add the updates with their first ranks."""
        return _bare_loss(super().apply(model))

    def load(self, model: PreTrainedModel, path: Path, *, trainable: bool) -> PreTrainedModel:
        """Put on the adapter, and with ``trainable`` the state of the allocation."""
        tuned = super().load(model, path, trainable=trainable)
        if trainable and (path / STATE).is_file():
            _take_state(tuned, load_file(path / STATE))
        return _bare_loss(tuned)

    def save(self, model: PreTrainedModel, directory: Path) -> None:
        """Write the adapter in its full size, ranks that were taken away being zero, so that the optimizer's state fits it."""
        config = model.peft_config["default"]
        ranks, config.rank_pattern = config.rank_pattern, None
        try:
            write_plain(model, directory)
        finally:
            config.rank_pattern = ranks
        if state := _state(model):
            save_file(state, directory / STATE)

    def callbacks(self, session: Session) -> list[TrainerCallback]:
        """What moves the ranks."""
        return [Allocation(self._options.adalora_orth_reg_weight)]

    def _fixed(self) -> dict[str, Any]:
        return {"total_step": UNKNOWN}


class Allocation(TrainerCallback):
    """Tells peft of every step, and adds the orthogonality term's gradient before it."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Now the number of steps is known.

        :raises TunesmithError: warm-up and final phase leave no step to move ranks in.
        """
        config = model.peft_config["default"]
        if max(config.tinit, 1) + config.tfinal >= state.max_steps:  # the last step chooses by what an earlier one weighed
            what = f"adalora_tinit ({config.tinit}) and adalora_tfinal ({config.tfinal}) leave none of {state.max_steps} steps."
            raise TunesmithError(what, "Make them smaller, or train for longer.")
        model.base_model.rankallocator.set_total_step(state.max_steps)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Add the gradient of ``weight · mean ‖P Pᵀ − I‖`` over all first and second matrices."""
        add_orthogonality(model, self.weight)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Weigh what was learned, and take ranks away; steps are counted from 1, so that the last one settles the budget."""
        model.base_model.update_and_allocate(state.global_step + 1)


def add_orthogonality(model: torch.nn.Module, weight: float) -> None:
    """Add the term's gradient to the gradients that are there."""
    sides = [
        (parameter, ".lora_A." in name)
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and (".lora_A." in name or ".lora_B." in name)
    ]
    for parameter, rows in sides if weight else ():
        with torch.enable_grad():
            held = parameter.detach().float().requires_grad_(True)
            product = held @ held.T if rows else held.T @ held
            term = torch.linalg.matrix_norm(product - torch.eye(len(product), device=held.device))
            (gradient,) = torch.autograd.grad(term * (weight / len(sides)), held)
        parameter.grad += gradient.to(parameter.grad.dtype)


def _bare_loss(tuned: Any) -> Any:
    """Without the term that peft adds to a loss which the model itself computes."""
    tuned.base_model.forward = MethodType(BaseTuner.forward, tuned.base_model)
    return tuned


def _state(model: Any) -> dict[str, torch.Tensor]:
    allocator = getattr(model.base_model, "rankallocator", None)
    if allocator is None:
        return {}
    kept = {f"importance.{name}": tensor for name, tensor in allocator.exp_avg_ipt.items()}
    kept |= {f"uncertainty.{name}": tensor for name, tensor in allocator.exp_avg_unc.items()}
    kept |= {f"rank.{name}": torch.tensor(held) for name, held in (model.peft_config["default"].rank_pattern or {}).items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}


def _take_state(model: Any, state: dict[str, torch.Tensor]) -> None:
    allocator, places = model.base_model.rankallocator, dict(model.base_model.model.named_parameters())
    for kind, held in (("importance.", allocator.exp_avg_ipt), ("uncertainty.", allocator.exp_avg_unc)):
        for name, tensor in state.items():
            if name.startswith(kind):
                own = name.removeprefix(kind)
                held[own] = tensor.to(places[own].device)
                allocator.ipt[own] = torch.zeros_like(held[own])
    ranks = {name.removeprefix("rank."): tensor.tolist() for name, tensor in state.items() if name.startswith("rank.")}
    model.peft_config["default"].rank_pattern = ranks or None
