"""The model and its adapters as models of their own, over the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.contracts import Backend
from tunesmith.errors import TunesmithError
from tunesmith.further_adapters import further_adapters
from tunesmith.model_folder import BASE_CHANGES
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime import loading
from tunesmith.runtime.twin import Twin

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_models(plan: Plan, plugins: Plugins, backend: Backend) -> dict[str | None, PreTrainedModel]:
    """The model as the plan wants it, by the name ``None``, and one for each adapter of ``serve_adapters``.

    Each has modules of its own, so that what an adapter of any kind does to them shows nowhere else. Weights are in memory
    once.

    :raises TunesmithError: an adapter does not fit, or changes the weights that it lies on.
    """
    wish, further = plan.models["policy"], further_adapters(plan)
    if not further:
        return {None: loading.load_model(plan, plugins, wish, backend, training=False)}
    base = loading.load_base(plan, plugins, wish, backend, training=False)
    twin = Twin.of(base)
    own = next((loading.adapter_folder(plan, name) for name in wish.adapters), None)
    models: dict[str | None, PreTrainedModel] = {}
    for name, path in further.items():
        folder = loading.adapter_folder(plan, path)
        _check_base_changes(name, folder)
        other = loading.tuner_for(plan, plugins, folder).load(twin.another(), folder, trainable=False)
        models[name] = other.requires_grad_(False).eval()
        _check_weights(twin, name)
    return {None: loading.finish_frozen(plan, plugins, wish, base, own), **models}


def _check_base_changes(name: str, folder: Path) -> None:
    if (folder / BASE_CHANGES).is_file():
        what = f"The adapter {name} brings tokens of its own or other positions, which the model beside it does not have."
        raise TunesmithError(what, "Serve it alone: adapter_name_or_path")


def _check_weights(twin: Twin, name: str) -> None:
    try:
        twin.check()
    except TunesmithError as error:
        what = f"The adapter {name} changes the weights that it lies on, so that no other model can share them."
        raise TunesmithError(what, "Serve it alone: adapter_name_or_path") from error
