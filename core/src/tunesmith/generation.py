"""What goes into an engine and comes out of it: sampling, requests, deltas."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """How to pick tokens. Fields that an engine cannot honour are an error, never ignored."""

    max_new_tokens: int = 1024
    do_sample: bool = True
    temperature: float = 0.95
    top_p: float = 0.7
    top_k: int = 50
    num_beams: int = 1
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    skip_special_tokens: bool = True


@dataclass(frozen=True)
class Request:
    """Token ids to continue. ``adapter`` names one of :meth:`Engine.adapters`; ``None`` is the model as loaded."""

    id: str
    ids: tuple[int, ...]
    sampling: Sampling = Sampling()
    adapter: str | None = None


@dataclass(frozen=True)
class Delta:
    """What one request produced since its last delta. ``finish`` is set on the last: ``stop``, ``length`` or ``cancelled``."""

    request: str
    ids: tuple[int, ...]
    text: str
    finish: str | None = None
