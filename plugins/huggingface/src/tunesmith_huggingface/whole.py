"""Answers by transformers' own ``generate``: beam searches, and models whose batches nobody can join while they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel, StoppingCriteria
from tunesmith.contracts import MediaReader

from tunesmith_huggingface.jobs import Job
from tunesmith_huggingface.rows import padded

Pause = Callable[[], None]
"""Called between two tokens, so that others get their turn."""


class Chooser(LogitsProcessor):
    """Leaves ``generate`` one token to choose for each row: the one that its request picks."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        only = torch.full_like(scores, -torch.inf)
        for row, job in enumerate(self.jobs):
            only[row, 0 if job.over else job.advance(scores[row])] = 0.0
        return only


class Watcher(StoppingCriteria):
    """Says which rows are over; lets others have a turn in between."""

    def __init__(self, jobs: Sequence[Job], pause: Pause) -> None:
        self.jobs = jobs
        self.pause = pause

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        self.pause()
        done = [job.over for job in self.jobs]
        if len(done) != len(input_ids):  # the beams of a search, which are no answers yet
            done = [all(job.cancelled for job in self.jobs)] * len(input_ids)
        return torch.tensor(done, device=input_ids.device, dtype=torch.bool)


def answer_whole(
    model: PreTrainedModel,
    jobs: Sequence[Job],
    settings: GenerationConfig,
    pause: Pause,
    reader: MediaReader | None = None,
) -> None:
    """Answer ``jobs``, which are of one kind as :func:`kinds` has it, to their ends.

    :param reader: of what they hold beside text.
    """
    searched = jobs[0].request.sampling.num_beams > 1
    ids, mask = padded([job.ids for job in jobs], settings.pad_token_id)
    device = next(model.parameters()).device
    extra: dict[str, Any] = {} if searched else {"logits_processor": LogitsProcessorList([Chooser(jobs)])}
    if reader is not None:
        seen = reader.inputs(ids, [one for job in jobs for one in job.request.media])
        extra |= {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in seen.items()}
    rows = model.generate(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        generation_config=settings,
        stopping_criteria=[Watcher(jobs, pause)],
        **extra,
    )
    if searched:
        for job, row in zip(jobs, rows[:, ids.shape[1] :].tolist(), strict=True):
            for token in row:
                if not job.over:
                    job.said.put(job.answer.add(token))


def settings_of(jobs: Sequence[Job], pad: int, use_cache: bool) -> GenerationConfig:
    """What to hand to ``generate``. Each request picks its tokens itself, unless it wants a beam search.

    ``generate`` fills in what is left out (suppressed and forced tokens) from the model's ``generation_config.json``. How to
    sample is never left out: the request decides.
    """
    wanted = jobs[0].request.sampling
    searched = wanted.num_beams > 1
    return GenerationConfig(
        max_new_tokens=max(job.answer.room for job in jobs),
        do_sample=False,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        num_beams=wanted.num_beams,
        repetition_penalty=wanted.repetition_penalty if searched else 1.0,
        length_penalty=wanted.length_penalty,
        eos_token_id=sorted(jobs[0].answer.ends) or None,
        pad_token_id=pad,
        use_cache=use_cache,
    )


def kinds(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that one call of ``generate`` can answer, together: all but beam searches, which must be alike in all but ends."""
    found: dict[Any, list[Job]] = {}
    for job in jobs:
        wanted = replace(job.request.sampling, seed=None, stop=(), skip_special_tokens=True)
        found.setdefault((job.request.adapter, wanted if wanted.num_beams > 1 else None), []).append(job)
    return list(found.values())
