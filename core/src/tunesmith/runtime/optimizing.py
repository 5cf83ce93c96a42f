"""The optimizer of a run: a plugin's, or one of transformers' over groups that the tuner asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer


def build_optimizer(trainer: Any, model: PreTrainedModel) -> Any:
    """The optimizer that plugin or tuner want, or ``None`` where transformers decides alone."""
    session = trainer.session
    groups = session.tuner.param_groups(model)
    if session.optimizer is not None:
        return session.optimizer.build(model, groups or usual_groups(trainer, model), trainer.args)
    if groups is None:
        return None
    kind, kwargs = trainer.get_optimizer_cls_and_kwargs(trainer.args, model)
    if {"params", "model", "optimizer_dict"} & set(kwargs):
        what = f"optim: {trainer.args.optim.value} makes its own groups of weights, and so does the tuner."
        raise TunesmithError(what, "Write another optim, or leave out what gives some weights their own learning rate.")
    return kind(groups, **kwargs)


def usual_groups(trainer: Trainer, model: PreTrainedModel) -> list[dict[str, Any]]:
    """Weight decay on matrices, none on biases and norms: the groups that transformers makes."""
    decayed = set(trainer.get_decay_parameter_names(model))
    learned = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    return [
        {"params": [w for name, w in learned if name in decayed], "weight_decay": trainer.args.weight_decay},
        {"params": [w for name, w in learned if name not in decayed], "weight_decay": 0.0},
    ]
