"""What goes into an engine and comes out of it: sampling, requests, deltas, log-probabilities, and the engine itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    import torch

    from tunesmith.contracts import Renderer
    from tunesmith.data.conversation import Conversation, Media
    from tunesmith.plan import Plan


@dataclass(frozen=True)
class Sampling:
    """How to pick tokens. Fields that an engine cannot honour are an error, never ignored.

    ``presence_penalty`` and ``frequency_penalty`` have OpenAI's meaning: taken off the score of each token that the answer
    already holds, once or as often as it does. ``logit_bias`` pairs token ids with what is added to their scores.
    ``logprobs``: how many alternatives to report with each token's log-probability; 0 reports the token alone, ``None``
    nothing. ``schema``: a JSON schema, as JSON text, that the answer must satisfy; ``"{}"`` is any JSON.
    """

    max_new_tokens: int = 1024
    do_sample: bool = True
    temperature: float = 0.95
    top_p: float = 0.7
    top_k: int = 50
    min_p: float = 0.0
    num_beams: int = 1
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    length_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    skip_special_tokens: bool = True
    logprobs: int | None = None
    schema: str | None = None


@dataclass(frozen=True)
class Request:
    """Token ids to continue. ``adapter`` names one of :meth:`Engine.adapters`; ``None`` is the model as loaded.

    ``media``: what the placeholder tokens among the ids stand for, in order: :attr:`Conversation.media` of what was encoded.
    """

    id: str
    ids: tuple[int, ...]
    sampling: Sampling = Sampling()
    adapter: str | None = None
    media: tuple[Media, ...] = ()


@dataclass(frozen=True)
class TokenLogprob:
    """The log-probability of a token under the model (before sampling changes scores), and of the most likely ones there."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Delta:
    """What one request produced since its last delta. ``finish`` is set on the last: ``stop``, ``length`` or ``cancelled``.

    ``logprobs`` has one entry for each of ``ids`` where the request asked for them.
    """

    request: str
    ids: tuple[int, ...]
    text: str
    finish: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Engine(Protocol):
    """Generates text. Made as ``engine(plan)``."""

    renderer: Renderer

    @abstractmethod
    def start(self, plan: Plan) -> None:
        """Load what is needed; returns when requests can be answered."""

    @abstractmethod
    def encode(self, conversation: Conversation) -> tuple[int, ...]:
        """The ids that generation starts from: exactly those that training would have produced."""

    @abstractmethod
    def generate(self, requests: Sequence[Request]) -> Iterator[Delta]:
        """Answer requests, yielding deltas as they come. Closing the iterator cancels what is still running.

        Several threads may call this at once.
        """

    def score(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """The reward of each row of token ids, by the model's value head.

        :raises TunesmithError: the model has none, or this engine cannot.
        """
        raise TunesmithError(f"The engine {type(self).__name__} cannot score.", "Pick an infer_backend that can.")

    def embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """A vector of length 1 for each row of token ids.

        :raises TunesmithError: this engine cannot.
        """
        raise TunesmithError(f"The engine {type(self).__name__} cannot embed.", "Pick an infer_backend that can.")

    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that requests may ask for."""
        return ()

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Take over new weights from a trainer.

        :raises TunesmithError: this engine cannot.
        """
        raise TunesmithError(f"The engine {type(self).__name__} cannot take over weights while it runs.")

    @abstractmethod
    def stop(self) -> None:
        """Give everything back. Safe to call twice."""
