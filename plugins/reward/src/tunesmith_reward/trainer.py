"""transformers' Trainer with the pairwise loss of reward models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from tunesmith.runtime.batch_trainer import BatchLoss, BatchTrainer
from tunesmith.runtime.scores import scores


class PairTrainer(BatchTrainer):
    """The better answer's score is to be above the worse one's: −log σ(better − worse), a mean over pairs.

    Bradley and Terry's model as in Stiennon et al. 2020 (arXiv:2009.01325) and Ouyang et al. 2022 (arXiv:2203.02155).
    """

    def size_of(self, batch: Mapping[str, Any]) -> int:
        """Pairs in a batch: half its rows."""
        return len(batch["input_ids"]) // 2

    def batch_loss(self, model: Any, batch: Mapping[str, Any]) -> BatchLoss:
        """Loss, accuracy, margin and mean score of one batch of pairs."""
        better, worse = scores(model, batch).chunk(2)
        margins, count = better - worse, len(better)
        measures = {
            "accuracy": (margins.gt(0).sum(), count),
            "margin": (margins.sum(), count),
            "score": (better.sum() + worse.sum(), 2 * count),
        }
        return BatchLoss(-logsigmoid(margins).sum(), measures, torch.stack([better, worse], dim=1))
