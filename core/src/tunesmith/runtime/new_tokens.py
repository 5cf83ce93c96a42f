"""Tokens that a run adds: the tokenizer learns them, the embedding and the output head get a row for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from transformers import AddedToken

from tunesmith.errors import TunesmithError
from tunesmith.new_words import read_descriptions
from tunesmith.plan import Plan
from tunesmith.runtime.base_changes import set_rows, tables

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Tables grow in steps of this many rows, which matrix kernels like.
STEP = 64
#: Ids of rows that were added or set.
Ids: TypeAlias = tuple[int, ...]
NO_ROWS: Ids = ()


def _value(plan: Plan, key: str) -> Any:
    return plan[key] if key in plan.settings else None


def grows(plan: Plan) -> bool:
    """Whether a run may need more rows than its model has."""
    return any(_value(plan, key) for key in ("add_tokens", "add_special_tokens", "resize_vocab"))


def add_tokens(tokenizer: PreTrainedTokenizerBase, plan: Plan) -> dict[str, int]:
    """Teach ``tokenizer`` the run's tokens, special ones first, as preparing data does; word → id of those it did not know."""
    known = tokenizer.get_vocab()
    added = tokenizer.get_added_vocab()
    for key, special in (("add_special_tokens", True), ("add_tokens", False)):
        words = [word for word in _value(plan, key) or () if word not in added]
        tokenizer.add_tokens([AddedToken(word, special=special, normalized=False) for word in words], special_tokens=special)
    return {word: id_ for word, id_ in tokenizer.get_vocab().items() if word not in known}


def grow(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, plan: Plan) -> Ids:
    """Give ``model`` a row for each token that the run adds, and start these rows as ``init_special_tokens`` says.

    :param tokenizer: without them, and with them afterwards.
    :return: the rows that are new or were started anew.
    :raises TunesmithError: a description has no tokens to start from, or the weights are spread over processes.
    """
    before = len(tokenizer)
    new = add_tokens(tokenizer, plan)
    rows = model.get_input_embeddings().weight.shape[0]
    if rows == 0:
        raise TunesmithError(
            "Tokens cannot be added to weights that are spread over processes.", "Add them in a run of their own."
        )
    needed = max([len(tokenizer), *(id_ + 1 for id_ in new.values())])
    if needed > rows:
        model.resize_token_embeddings(math.ceil(needed / STEP) * STEP, mean_resizing=False)
    grown = model.get_input_embeddings().weight.shape[0]
    ids = tuple(sorted({*new.values(), *range(rows, grown)}))
    if ids:
        described = _described(tokenizer, new, plan)
        for seed, table in enumerate(tables(model).values()):
            generator = torch.Generator().manual_seed(int(_value(plan, "seed") or 0) + seed)
            start = _starts(
                table.detach()[: min(before, rows)], ids, described, str(_value(plan, "init_special_tokens")), generator
            )
            set_rows(table, ids, start)
    return ids


def _described(tokenizer: PreTrainedTokenizerBase, new: Mapping[str, int], plan: Plan) -> dict[int, list[int]]:
    """Id of a new token → ids of its description."""
    file, how = _value(plan, "new_special_tokens_config"), str(_value(plan, "init_special_tokens"))
    if file is None or how == "noise_init":
        return {}
    found = {}
    for word, description in read_descriptions(Path(file)).items():
        ids = [id_ for id_ in tokenizer(description, add_special_tokens=False).input_ids if id_ not in new.values()]
        if not ids:
            raise TunesmithError(f"init_special_tokens: {how}: the description of {word!r} has no tokens that the model knows.")
        if word in new:
            found[new[word]] = ids
    return found


def _starts(
    known: torch.Tensor, ids: Sequence[int], described: Mapping[int, list[int]], how: str, generator: torch.Generator
) -> torch.Tensor:
    """(ids, width) in float32: the mean of all known rows or of a description's, with noise of variance 1 / width (Hewitt 2021,
    "Initializing new word embeddings for pretrained language models", for the mean)."""
    width = known.shape[1]
    mean = known.float().mean(0).cpu()
    rows = []
    for id_ in ids:
        noise = torch.randn(width, generator=generator) / math.sqrt(width)
        if id_ in described:
            start = known[described[id_]].float().mean(0).cpu()
            rows.append(start + noise if how == "desc_init_w_noise" else start)
        else:
            rows.append(mean + noise)
    return torch.stack(rows)
