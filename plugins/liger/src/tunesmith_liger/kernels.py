"""Liger's kernels in one model and no other."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from tunesmith import TunesmithError
from tunesmith.contracts import Accelerator

from tunesmith_liger.known import GLOBAL, kernel_faults, known_models

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan


class LigerKernels(Accelerator):
    """Puts fused kernels into the modules of a loaded model.

    Liger's own functions also exchange classes and functions in transformers' modules, which would change every model of that
    kind; these are put back, and what the modules of this model look up by name (the rotary embedding) is given to them alone.
    """

    def __init__(self, plan: Plan) -> None:
        self.asked: Mapping[str, bool] = plan["liger_kernel_config"] or {}

    def after_load(self, model: PreTrainedModel) -> PreTrainedModel:
        """Patch this instance.

        :raises TunesmithError: Liger does not know this kind of model or one of the kernels, or changed nothing.
        """
        kind = str(model.config.model_type)
        if kind not in known_models():
            raise TunesmithError(
                f"enable_liger_kernel: Liger knows no model of type {kind!r}.", "Leave enable_liger_kernel out."
            )
        asked = dict(self.asked)
        for what, instead in kernel_faults(kind, asked):
            raise TunesmithError(f"liger_kernel_config: {what}.", instead)
        if GLOBAL in known_models()[kind]:
            asked[GLOBAL] = False
        from liger_kernel.transformers.monkey_patch import _apply_liger_kernel_to_instance

        with _kept_apart(model):
            _apply_liger_kernel_to_instance(model, **asked)
        if not patched(model):
            raise TunesmithError(f"Liger changed nothing in {type(model).__name__}.", "Leave enable_liger_kernel out.")
        return model


@contextmanager
def _kept_apart(model: PreTrainedModel) -> Iterator[None]:
    """Put back what is exchanged in transformers' modules; parts of ``model`` that look it up get it for themselves."""
    names = {type(part).__module__ for part in model.modules()}
    before = [
        (module, dict(vars(module))) for name in names if (module := sys.modules[name]).__name__.startswith("transformers.")
    ]
    try:
        yield
    finally:
        for module, held in before:
            new = {name: value for name, value in vars(module).items() if held.get(name) is not value}
            vars(module).update({name: held[name] for name in new if name in held})
            for part in model.modules():
                _give(part, vars(module), new)


def _give(part: Any, module: dict[str, Any], new: dict[str, Any]) -> None:
    """Let the ``forward`` of ``part``, where it is one of ``module`` and uses something of ``new``, find that instead."""
    usual = type(part).forward
    if (
        "forward" in part.__dict__
        or getattr(usual, "__globals__", None) is not module
        or not set(usual.__code__.co_names) & set(new)
    ):
        return
    own = FunctionType(usual.__code__, {**module, **new}, usual.__name__, usual.__defaults__, usual.__closure__)
    own.__kwdefaults__ = usual.__kwdefaults__
    part.forward = MethodType(own, part)


def patched(model: Any) -> list[str]:
    """Names of the modules of ``model`` that compute by Liger."""
    return [name or "the model" for name, part in model.named_modules() if _by_liger(part)]


def _by_liger(module: Any) -> bool:
    forward = module.__dict__.get("forward")
    function = getattr(forward, "__func__", forward)
    return str(getattr(function, "__module__", "")).startswith("liger_kernel")
