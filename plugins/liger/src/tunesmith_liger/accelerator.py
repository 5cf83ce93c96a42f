"""How the computation changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from tunesmith.contracts import Accelerator
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan


class LigerAccelerator(Accelerator):
    """Recomputes every module whose class is called …MLP. ``calls`` counts how often one computed."""

    def __init__(self, plan: Plan) -> None:
        self.calls = 0

    def after_load(self, model: PreTrainedModel) -> PreTrainedModel:
        """Wrap the feed-forward layers of a loaded model."""
        layers = [module for module in model.modules() if type(module).__name__.endswith("MLP")]
        if not layers:
            raise TunesmithError(f"{type(model).__name__} has no layer called …MLP.", "Leave out use_liger.")
        for layer in layers:
            layer.forward = partial(checkpoint, self._counted(layer.forward), use_reentrant=False)
        return model

    def _counted(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return forward(*args, **kwargs)

        return counted
