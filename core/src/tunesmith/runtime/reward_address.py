"""A reward model at an address, asked over HTTP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import httpx2
import torch

from tunesmith.errors import TunesmithError


def ask_address(address: str, texts: Sequence[str], timeout: float) -> torch.Tensor:
    """Have texts rated over HTTP: ``{"model": …, "messages": [text, …]}`` is answered by ``{"scores": [number, …]}``.

    :param timeout: seconds for the whole answer.
    :raises TunesmithError: nobody answers in time, or not with one finite number to each text.
    """
    hint = "See that the server runs, or name another one: reward_model: http://HOST:PORT/…"
    try:
        reply = httpx2.post(address, json={"model": "model", "messages": list(texts)}, timeout=timeout)
        reply.raise_for_status()
        found: Any = reply.json()["scores"]
        table = torch.tensor([float(score) for score in found], dtype=torch.float32)
    except httpx2.TimeoutException as error:
        more = "Give it longer: reward_model_timeout: …"
        raise TunesmithError(f"The reward model at {address} has not answered within {timeout:g} seconds.", more) from error
    except httpx2.HTTPError as error:
        raise TunesmithError(f"The reward model at {address} cannot be asked: {error}", hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise TunesmithError(
            f"The reward model at {address} answered with no list of numbers under scores: {error}", hint
        ) from error
    if len(table) != len(texts) or not all(map(math.isfinite, table.tolist())):
        raise TunesmithError(
            f"The reward model at {address} gave {len(table)} scores to {len(texts)} texts, or infinite ones.", hint
        )
    return table
