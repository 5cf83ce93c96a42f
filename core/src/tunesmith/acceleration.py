"""What an accelerator must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tunesmith.plan import Plan


class Accelerator(Protocol):
    """Changes how a computation runs, never what it computes. Made as ``accelerator(plan)``."""

    def before_load(self, plan: Plan) -> None:
        """Before any weights are loaded."""

    def placement(self, placement: Mapping[str, Any]) -> Mapping[str, Any]:
        """Where a model's weights are read to, as arguments of ``from_pretrained``; given where the run would have them."""
        return placement

    def load(self, folder: Path, kwargs: Mapping[str, Any]) -> PreTrainedModel | None:
        """The weights of the model that learns, read in a way of its own; only where the spec says ``loads``.

        :param kwargs: what transformers' ``from_pretrained`` would be given (``dtype``, ``device_map``, …).
        :return: ``None`` where transformers shall read them.
        """
        return None

    def after_load(self, model: PreTrainedModel) -> PreTrainedModel:
        """When the weights are there, before the tuner acts."""
        return model

    def after_tuner(self, model: PreTrainedModel) -> PreTrainedModel:
        """When the tuner has acted and every weight has its number format: the model as it will be trained.

        Where the spec says ``answers``, this is also called for models that only answer, with their adapters on.
        """
        return model

    def arguments(self, plan: Plan) -> dict[str, Any]:
        """Training arguments that it sets. A clash with what the user wrote is an error."""
        return {}

    def losses(self) -> Mapping[str, Callable[..., Any]]:
        """Losses that it computes in place of a stage, by the names that its spec lists.

        ``"token"``: called as ``loss(model, inputs, labels, smoothing)`` with the inputs of a batch without its labels; runs
        the model and returns the cross-entropy of each place's next token, (rows, length - 1) in float32, 0 where the label
        is -100, and the model's outputs, which need not hold logits. Whoever wants log-probabilities takes their negatives.
        ``"pairs:KIND"``: called as ``loss(model, inputs, labels, reference, beta)`` with a batch whose rows are the better
        answers of all pairs, then the worse ones, and the log-probabilities that the reference model gives both, each
        (pairs,); returns the losses (pairs,), and the log-probabilities of both without gradient.
        A stage that does not know a name leaves it alone.
        """
        return {}
