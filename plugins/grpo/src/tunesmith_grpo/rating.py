"""What rates answers, as functions of the kind that trl calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tunesmith.data.conversation import Tokens
from tunesmith.runtime.collate import Collator
from tunesmith.runtime.precision import autocast
from tunesmith.runtime.reward_address import ask_address
from tunesmith.runtime.rewarding import RewardFunctions
from tunesmith.runtime.scores import scores
from tunesmith.runtime.session import Session

from tunesmith_grpo.prompts import PromptBook
from tunesmith_grpo.tool_use import rated_as

Rate = Callable[..., list[float]]


def rating_functions(session: Session, book: PromptBook, stops: Sequence[int]) -> tuple[list[Rate], list[float]]:
    """The functions that rate a run's answers, and their weights."""
    found = RewardFunctions(session.plan, session.plugins)
    functions = [_by_function(session, book, frozenset(stops), found, at) for at in range(len(found))]
    weights = list(found.weights)
    if session.plan["reward_model"]:
        functions.append(_by_model(session, book) if "reward" in session.models else _by_address(session, book))
        weights.append(1.0)
    return functions, weights


def _by_function(session: Session, book: PromptBook, stops: frozenset[int], all_of_them: RewardFunctions, at: int) -> Rate:
    renderer, tokenizer = session.renderer, session.tokenizer
    assert renderer is not None

    def rate(prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], turns: Any = None, **_: Any) -> list[float]:
        asked = list(map(book.prompt, prompts))
        if turns is not None:  # tools were called: what they said belongs to what was asked
            pairs = [rated_as(prompt, said) for prompt, said in zip(asked, turns, strict=True)]
            return all_of_them.column(at, [prompt for prompt, _ in pairs], [answer for _, answer in pairs])
        texts = [tokenizer.decode([one for one in ids if one not in stops]) for ids in completion_ids]
        return all_of_them.column(at, asked, list(map(renderer.parse_reply, texts)))

    rate.__name__ = all_of_them.names[at]
    return rate


def _by_model(session: Session, book: PromptBook) -> Rate:
    model = session.models["reward"]
    model.config.pad_token_id = session.tokenizer.pad_token_id  # a classifier finds the end by it
    collate, size = Collator(session.tokenizer.pad_token_id), session.args.per_device_train_batch_size

    def rate(prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        whole = [np.array([*book.ids(prompt), *ids]) for prompt, ids in zip(prompts, completion_ids, strict=True)]
        found: list[float] = []
        for start in range(0, len(whole), size):
            rows = [{"tokens": Tokens(ids, np.zeros(len(ids), np.float32))} for ids in whole[start : start + size]]
            batch = {name: tensor.to(session.args.device) for name, tensor in collate(rows).items()}
            with torch.no_grad(), autocast(session.plan, session.backend), session.answering_as("reward") as rater:
                found += scores(rater, batch).tolist()
        return found

    rate.__name__ = "model"
    return rate


def _by_address(session: Session, book: PromptBook) -> Rate:
    address, patience = session.plan["reward_model"], session.plan["reward_model_timeout"]

    def rate(prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        whole = [[*book.ids(prompt), *ids] for prompt, ids in zip(prompts, completion_ids, strict=True)]
        texts = session.tokenizer.batch_decode(whole, skip_special_tokens=False)
        found: list[float] = ask_address(address, texts, patience).tolist()
        return found

    rate.__name__ = "model"
    return rate
