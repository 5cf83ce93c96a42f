"""Attention within groups of neighbouring tokens: S²-Attn of LongLoRA (Chen et al., 2023, https://arxiv.org/abs/2309.12307).

A row is cut into four groups, and each token attends to those before it in its group. Half of the heads cut half a group
earlier, so that what one half separates the other joins. The paper rolls the row round, which puts its beginning and its end
into one group and lets the first tokens see the last; here those two are groups of their own: nothing sees what comes after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias

import torch
from torch.nn.functional import scaled_dot_product_attention

#: Into how many groups a row is cut; the paper's ratio of group to row is 1/4.
GROUPS = 4
#: Where groups start, how many they are, and the tokens in each.
Span: TypeAlias = tuple[int, int, int]


def shifted_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers asks for it.

    :param query: (rows, heads, length, width); ``key`` and ``value`` may have fewer heads.
    :param attention_mask: (rows, length), false where a row is padded; ``None`` where no row is.
    :param others: ``scaling`` of scores, ``dropout`` of weights, and what else a model asks for.
    :return: (rows, length, heads, width).
    :raises RuntimeError: keys of earlier calls are there, or the model asks for attention of another kind.
    """
    asked = [name for name in ("sliding_window", "softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if asked or key.shape[2] != query.shape[2]:
        why = f"it asks for {', '.join(asked)}" if asked else "it attends to keys of earlier calls"
        raise RuntimeError(f"{type(module).__name__} cannot attend in shifted groups: {why}.")
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
    attend = partial(scaled_dot_product_attention, dropout_p=others.get("dropout", 0.0), scale=others.get("scaling"))
    size = group_size(query.shape[2])
    straight = (query.shape[1] + 1) // 2
    halves = []
    for heads, first in ((slice(straight), size), (slice(straight, None), size // 2)):
        parts = [part[:, heads] for part in (query, key, value)]
        halves.append(_grouped(parts, attention_mask, spans(query.shape[2], size, first), attend))
    return torch.cat(halves, dim=1).transpose(1, 2).contiguous(), None


def group_size(length: int) -> int:
    """Tokens in a group of a row: a quarter, rounded up to an even number."""
    quarter = -(-length // GROUPS)
    return quarter + quarter % 2


def spans(length: int, size: int, first: int) -> Iterator[Span]:
    """Neighbouring groups of one size; the first of all has ``first`` tokens, the last what is left."""
    at = min(first, length) if first < size else 0
    if at:
        yield 0, 1, at
    many = (length - at) // size
    if many:
        yield at, many, size
    if rest := length - at - many * size:
        yield length - rest, 1, rest


def _grouped(parts: list[torch.Tensor], there: torch.Tensor | None, cuts: Iterable[Span], attend: Any) -> torch.Tensor:
    done = []
    for start, many, size in cuts:
        inner = [_as_rows(part[:, :, start : start + many * size], many) for part in parts]
        mask = None if there is None else _mask(there[:, start : start + many * size], many)
        found = attend(*inner, attn_mask=mask, is_causal=mask is None)
        done.append(found.unflatten(0, (-1, many)).transpose(1, 2).flatten(2, 3))
    return torch.cat(done, dim=2)


def _as_rows(part: torch.Tensor, many: int) -> torch.Tensor:
    """(rows, heads, many · size, width) → (rows · many, heads, size, width)."""
    return part.unflatten(2, (many, -1)).transpose(1, 2).flatten(0, 1)


def _mask(there: torch.Tensor, many: int) -> torch.Tensor:
    """Who sees whom in each group, (rows · many, 1, size, size): those before it that are no padding, and itself."""
    seen = there.bool().unflatten(1, (many, -1)).flatten(0, 1)
    size = seen.shape[1]
    before = torch.ones(size, size, dtype=torch.bool, device=there.device).tril()
    itself = torch.eye(size, dtype=torch.bool, device=there.device)
    return ((before & seen[:, None, :]) | itself)[:, None]


def padding_only(attention_mask: torch.Tensor | None = None, **_: Any) -> torch.Tensor | None:
    """The mask that :func:`shifted_attention` wants of transformers: where rows are padded, ``None`` where none is."""
    if attention_mask is None or bool(attention_mask.all()):
        return None
    return attention_mask.bool()
