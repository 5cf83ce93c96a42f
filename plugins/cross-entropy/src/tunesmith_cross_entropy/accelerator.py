"""Lets a model's output layer answer with losses instead of logits."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from tunesmith import TunesmithError
from tunesmith.contracts import Accelerator
from tunesmith.runtime.token_loss import plain_losses

from tunesmith_cross_entropy.chunked import IGNORED, linear_cross_entropy
from tunesmith_cross_entropy.options import CrossEntropyOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

#: How far a loss may be from the plain one before the model is said to do something to its logits.
CLOSE = 1e-3


class ChunkedCrossEntropy(Accelerator):
    """Computes the ``"token"`` loss inside the output layer, so that logits never leave it.

    While a batch is learned, the layer's ``forward`` returns the loss of each place in place of its logits; otherwise the layer
    does what it always did, so that evaluation and generation see logits. Working inside the module, it needs nothing of the
    wrappers around the model (adapters, processes). ``tokens`` counts what went through it.
    """

    def __init__(self, plan: Plan) -> None:
        self.options = plan.options(CrossEntropyOptions)
        self.labels: torch.Tensor | None = None
        self.smoothing = 0.0
        self.tokens = 0

    def losses(self) -> Mapping[str, Callable[..., Any]]:
        """The loss of each next token."""
        return {"token": self.token_loss}

    def after_tuner(self, model: PreTrainedModel) -> PreTrainedModel:
        """Prepare the output layer, and prove on a few tokens that the losses are the plain ones.

        :raises TunesmithError: the output layer is not a plain one, or the model does something to its logits afterwards.
        """
        head = output_layer(model)
        head.forward = self._in_place_of(head.forward, head)
        self._prove(model)
        return model

    def token_loss(self, model: Any, inputs: Mapping[str, Any], labels: torch.Tensor, smoothing: float) -> tuple[Any, Any]:
        """Run ``model``; the losses of its next tokens, (rows, length - 1), and its outputs, whose logits are these losses."""
        shifted = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
        with self._asked(shifted, smoothing):
            outputs = model(**inputs)
        losses = outputs["logits"]
        if losses.shape != (*labels.shape, 1):
            raise RuntimeError(f"the output layer of {type(model).__name__} was not asked for losses, or not once")
        return losses[:, :-1, 0], outputs

    @contextmanager
    def _asked(self, labels: torch.Tensor, smoothing: float) -> Iterator[None]:
        self.labels, self.smoothing = labels, smoothing
        try:
            yield
        finally:
            self.labels = None

    def _in_place_of(self, usual: Callable[..., torch.Tensor], head: nn.Linear) -> Callable[..., torch.Tensor]:
        def forward(hidden: torch.Tensor) -> torch.Tensor:
            if self.labels is None:
                return usual(hidden)
            self.tokens += self.labels.numel()
            chunk, labels = self.options.cross_entropy_chunk, self.labels.to(hidden.device)
            losses = linear_cross_entropy(hidden, head.weight, head.bias, labels, chunk=chunk, smoothing=self.smoothing)
            return losses.unsqueeze(-1)

        return forward

    def _prove(self, model: PreTrainedModel) -> None:
        device = model.get_input_embeddings().weight.device
        ids = torch.arange(2 * 8, device=device).view(2, 8) % model.config.get_text_config().vocab_size
        was_training = model.training
        model.eval()
        with torch.no_grad():
            plain, _ = plain_losses(model, {"input_ids": ids}, ids, 0.0)
            found, _ = self.token_loss(model, {"input_ids": ids}, ids, 0.0)
        model.train(was_training)
        self.tokens = 0
        if not torch.allclose(found.float(), plain, rtol=CLOSE, atol=CLOSE):
            what = f"chunked_cross_entropy: {_name(model)} changes its logits after its output layer."
            raise TunesmithError(what, "Leave chunked_cross_entropy out.")


def output_layer(model: Any) -> nn.Linear:
    """The plain linear layer that makes logits, also under an adapter that learns it as a whole.

    :raises TunesmithError: there is none.
    """
    head = model.get_output_embeddings()
    if hasattr(head, "modules_to_save"):  # peft keeps the frozen one beside the copy that learns
        head = head.modules_to_save[head.active_adapter if isinstance(head.active_adapter, str) else head.active_adapters[0]]
    if type(head) is not nn.Linear:
        found = "no output layer" if head is None else f"an output layer of the kind {type(head).__name__}"
        raise TunesmithError(
            f"chunked_cross_entropy: {_name(model)} has {found}, not a plain linear one.",
            "Leave chunked_cross_entropy out, or lm_head out of what is adapted or quantised.",
        )
    return head


def _name(model: Any) -> str:
    return type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__
