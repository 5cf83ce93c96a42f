"""Proof by trial that documents packed into one row do not see each other in this very model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tunesmith.data.conversation import Tokens
from tunesmith.errors import TunesmithError
from tunesmith.runtime.collate import Collator

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: How much of a change in one document may show in its neighbour: rounding, not attention.
LEAK = 1e-3
LENGTH = 8


def check_isolation(model: PreTrainedModel, autocast: Any, rows: int = 1) -> bool:
    """Run two small packs that differ only in their first documents, and compare what the model says of the second ones.

    :param autocast: the context in which training computes.
    :param rows: packs in the largest batch.
    :return: whether packs may be rows of a batch; otherwise they have to be joined into one row, in which alone some attention
        kernels isolate documents.
    :raises TunesmithError: the second documents noticed in one row already.
    """
    if measure_leak(model, autocast, 1) > LEAK:
        kernel = getattr(model.config, "_attn_implementation", "its attention")
        raise TunesmithError(
            f"{type(_plain(model)).__name__} with {kernel} lets packed documents see each other.",
            "Write packing: false, or another flash_attn.",
        )
    return rows == 1 or measure_leak(model, autocast, 2) <= LEAK


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model under an adapter: the one that a user knows by name."""
    found: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model
    return found


def measure_leak(model: PreTrainedModel, autocast: Any, rows: int) -> float:
    """How strongly second documents change with the first ones, relative to the first ones' own change."""
    generator = np.random.default_rng(0)
    vocabulary = model.config.get_text_config().vocab_size
    second = generator.integers(0, vocabulary, (rows, LENGTH))
    first, other = generator.integers(0, vocabulary, (2, rows, LENGTH))
    one, two = (_answers(model, autocast, np.concatenate([begin, second], axis=1)) for begin in (first, other))
    change = (one - two).abs()
    return float(change[:, LENGTH:].max() / change[:, :LENGTH].max().clamp(min=1e-12))


def _answers(model: PreTrainedModel, autocast: Any, ids: np.ndarray[Any, Any]) -> torch.Tensor:
    rows = [{"tokens": Tokens(row, np.ones(len(row), np.float32)), "starts": (0, LENGTH)} for row in ids]
    batch = Collator(pad=0, packed=True)(rows)
    batch.pop("labels")
    device = model.get_input_embeddings().weight.device
    was_training = model.training
    model.eval()
    with torch.no_grad(), autocast:
        answers: torch.Tensor = model(**{k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}).logits
    model.train(was_training)
    return answers.float()
