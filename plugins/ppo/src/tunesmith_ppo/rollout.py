"""Experience: prompts, the policy's answers to them, and what each of their tokens was worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tunesmith.data.conversation import Prompt
from tunesmith.data.prompt_facts import prompt_of_facts
from tunesmith.runtime.measures import Sums
from tunesmith.runtime.precision import autocast
from tunesmith.runtime.session import Session

from tunesmith_ppo.answering import Answerer
from tunesmith_ppo.experience import batch_of, row_of
from tunesmith_ppo.rating import Rated, Rater
from tunesmith_ppo.reading import Said, read

Asked = tuple[tuple[int, ...], Prompt]


class PromptRows(Dataset[Asked]):
    """A store of prompts as a loader reads it: token ids, and the prompt itself for rewards."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Asked:
        ids = np.asarray(self.store[index]["prompt"].ids).tolist()
        return tuple(ids), prompt_of_facts(self.store.facts(index))


def prompts_together(rows: Sequence[Asked]) -> dict[str, Any]:
    """A batch of prompts: nothing is padded before it is answered."""
    return {"asked": list(rows)}


@dataclass(frozen=True)
class Rollout:
    """Answers, each with ``logprobs``, ``reference`` and ``values`` to every token, and what they were rated."""

    rows: list[dict[str, torch.Tensor]]
    rated: Rated
    measures: Sums

    @property
    def divergence(self) -> torch.Tensor:
        """How far each answer's policy is from the reference model: the sum over its tokens, (rows,)."""
        return torch.stack([(row["logprobs"] - row["reference"]).sum() for row in self.rows])


class Roller:
    """Has the policy answer, the reference model read along and the answers rated."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.answerer, self.rater = Answerer(session), Rater(session)
        plan = session.plan
        self.temperature = float(plan["temperature"]) if plan["do_sample"] else 1.0

    def roll(self, model: Any, batches: Sequence[Sequence[Asked]]) -> Rollout:
        """Answer prompts, a batch of them at a time."""
        rows: list[dict[str, torch.Tensor]] = []
        answers: list[list[int]] = []
        for batch in batches:
            said = self.answerer.answer(model, [ids for ids, _ in batch])
            answers += said
            rows += self._known(model, [row_of(ids, answer) for (ids, _), answer in zip(batch, said, strict=True)])
        texts = [self.answerer.text(answer) for answer in answers]
        rated = self.rater.rate(rows, [prompt for batch in batches for _, prompt in batch], texts)
        return Rollout(rows, rated, self._measures(rows, answers, rated))

    def _known(self, model: Any, rows: list[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
        """Rows with what policy and reference model say of each token."""
        session = self.session
        batch = batch_of(rows, session.tokenizer.pad_token_id)
        batch = {name: tensor.to(session.args.device) for name, tensor in batch.items()}
        mine = self._read(model, batch)
        with session.answering_as("reference") as reference:
            others = self._read(reference, batch)
        assert mine.values is not None
        lengths = [len(row["ids"]) - int(row["asked"]) for row in rows]
        found = {"logprobs": mine.logprobs, "reference": others.logprobs, "values": mine.values}
        parts = {name: numbers.cpu().split(lengths) for name, numbers in found.items()}
        return [{**row, **{name: parts[name][at].clone() for name in parts}} for at, row in enumerate(rows)]

    def _read(self, model: Any, batch: Mapping[str, torch.Tensor]) -> Said:
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), autocast(self.session.plan, self.session.backend):
                return read(model, batch, self.temperature)
        finally:
            model.train(was_training)

    def _measures(self, rows: list[dict[str, torch.Tensor]], answers: list[list[int]], rated: Rated) -> Sums:
        count = len(rows)
        ended = sum(answer[-1] in self.answerer.stops for answer in answers)
        found = {
            "reward": rated.total.sum(),
            "kl": sum((row["logprobs"] - row["reference"]).sum() for row in rows),
            "answers/length": torch.tensor(float(sum(map(len, answers)))),
            "answers/ended": torch.tensor(float(ended)),
        }
        if len(rated.parts) > 1:
            found |= {f"reward/{name}": part.sum() for name, part in rated.parts.items()}
        return {name: (torch.as_tensor(total), count) for name, total in found.items()}
