"""Requests that take their steps together: a batch that others join while it runs, and that each leaves when it is over."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from transformers import PreTrainedModel
from tunesmith.runtime.scores import counts_logits

from tunesmith_huggingface.caches import join_rows, keep_rows, new_cache
from tunesmith_huggingface.jobs import Job

LITTLE = 256
"""Columns up to which padding costs next to nothing."""


class Rows:
    """Jobs of one model, one row each, and what the model remembers of them.

    ``mask`` is 1 where a row has a token: (rows, columns). All rows end at the last column.
    """

    def __init__(self, model: PreTrainedModel, jobs: Sequence[Job], pad: int) -> None:
        """Read the prompts of ``jobs`` and take the first step of each."""
        self.model, self.jobs = model, list(jobs)
        self.cache = new_cache(model.config)
        device = next(model.parameters()).device
        ids, mask = padded([job.ids for job in jobs], pad)
        self.mask = mask.to(device)
        self._advance(self._scores(ids.to(device), (self.mask.cumsum(-1) - 1).clamp(min=0)))

    @property
    def columns(self) -> int:
        """How long the longest row is."""
        return self.mask.shape[1]

    def step(self) -> None:
        """One more token for each row."""
        newest = torch.tensor([[job.ids[-1]] for job in self.jobs], device=self.mask.device)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.jobs), 1)], dim=1)
        self._advance(self._scores(newest, self.mask.sum(1, keepdim=True) - 1))

    def sweep(self) -> None:
        """Let go of rows that are over, and of columns that only they filled."""
        kept = [row for row, job in enumerate(self.jobs) if not job.over]
        if len(kept) < len(self.jobs):
            self._keep(kept)

    def drop(self, job: Job) -> None:
        """Let go of one row."""
        self._keep([row for row, other in enumerate(self.jobs) if other is not job])

    def welcomes(self, others: Rows) -> bool:
        """Whether it is cheaper to step together, padding and all, than one after the other."""
        if others.model is not self.model:
            return False
        columns = max(self.columns, others.columns)
        apart = len(self.jobs) * self.columns + len(others.jobs) * others.columns
        return columns <= LITTLE or (len(self.jobs) + len(others.jobs)) * columns <= 1.5 * apart

    def join(self, others: Rows) -> None:
        """Take over the rows of another batch."""
        self.cache = join_rows([self.cache, others.cache])
        columns = max(self.columns, others.columns)
        masks = [torch.nn.functional.pad(one.mask, (columns - one.columns, 0)) for one in (self, others)]
        self.mask = torch.cat(masks)
        self.jobs += others.jobs

    def _keep(self, kept: list[int]) -> None:
        self.jobs = [self.jobs[row] for row in kept]
        if not kept:
            return
        rows = torch.tensor(kept, device=self.mask.device)
        mask = self.mask[rows]
        cut = int(mask.any(dim=0).int().argmax())
        self.mask = mask[:, cut:]
        keep_rows(self.cache, rows, cut)

    def _scores(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """The model's scores for what comes next: (rows, vocabulary)."""
        output = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
            **_further(type(self.model), positions),
        )
        scores: torch.Tensor = output.logits[:, -1]
        return scores

    def _advance(self, scores: torch.Tensor) -> None:
        for job, row, best in zip(self.jobs, scores, scores.argmax(-1).tolist(), strict=True):
            if not job.over:
                job.advance(row, best)


def _further(kind: type, positions: torch.Tensor) -> dict[str, Any]:
    """Arguments that not every kind of model takes."""
    further: dict[str, Any] = {"logits_to_keep": 1} if counts_logits(kind) else {}
    return {**further, "position_ids": positions} if _counts_positions(kind) else further


@cache
def _counts_positions(kind: type) -> bool:
    return "position_ids" in inspect.signature(kind.forward).parameters  # type: ignore[attr-defined]


def of_a_length(jobs: Sequence[Job]) -> list[list[Job]]:
    """``jobs`` in groups whose rows are of about one length."""
    groups: list[list[Job]] = []
    for job in sorted(jobs, key=lambda job: len(job.ids)):
        least = len(groups[-1][0].ids) if groups else 0
        if groups and len(job.ids) <= max(LITTLE, 2 * least):
            groups[-1].append(job)
        else:
            groups.append([job])
    return groups


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids with padding on the left, and the mask that hides it: (rows, longest) each."""
    length = max(map(len, rows))
    ids = torch.tensor([[pad] * (length - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
