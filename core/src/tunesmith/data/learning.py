"""An example as the sequences that are encoded, and which of their runs are learned.

=============  ======================  ================================================================
kind           sequences               learned
=============  ======================  ================================================================
conversation   ``tokens``              every answer, or as its turn's weight says
preference     ``chosen rejected``     the answers that are compared; the prompt is only seen
feedback       ``tokens``              the last answer; facts: ``desirable``
document       ``tokens``              all of it
prompt         ``prompt``              nothing; facts: the row's other columns
=============  ======================  ================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.contracts import BadRow, Renderer
from tunesmith.data.conversation import Conversation, Document, Example, Feedback, Preference, Prompt, Rendered, Turn
from tunesmith.data.tokens import Encoded, Encoder
from tunesmith.errors import TunesmithError

SEQUENCES: Mapping[str, tuple[str, ...]] = {
    "conversation": ("tokens",),
    "preference": ("chosen", "rejected"),
    "feedback": ("tokens",),
    "document": ("tokens",),
    "prompt": ("prompt",),
}


@dataclass(frozen=True)
class Learning:
    """What of a conversation is learned, as the run wants it."""

    mask_history: bool = False
    train_on_prompt: bool = False


@dataclass(slots=True)
class Draft:
    """A sequence before it is encoded. ``weights``: those of its learned runs in order; ``None`` leaves them as rendered."""

    rendered: Rendered
    weights: tuple[float, ...] | None = None
    prompt_too: bool = False

    @property
    def plain(self) -> bool:
        """Whether the weights are just those that were rendered."""
        return self.weights is None and not self.prompt_too


def drafts(example: Example, renderer: Renderer | None, encoder: Encoder, wish: Learning) -> list[Draft]:
    """The sequences of an example, in the order of :data:`SEQUENCES`.

    :raises BadRow: the template cannot express it.
    """
    if isinstance(example, Document):
        return [Draft(encoder.document(example.text))]
    if renderer is None:
        raise TunesmithError("This dataset holds conversations, and the run has no template.", "Write template: NAME.")
    try:
        return _rendered(example, renderer, wish)
    except TunesmithError as error:
        raise BadRow(f"{error.message} {error.hint}".strip()) from error


def _rendered(example: Example, renderer: Renderer, wish: Learning) -> list[Draft]:
    if isinstance(example, Conversation):
        return [_conversation(example, renderer, wish)]
    if isinstance(example, Prompt):
        return [Draft(_checked(renderer.render(example.conversation, generation_prompt=True)), ())]
    if isinstance(example, Preference):
        return [_judged(example.prompt, answer, renderer) for answer in (example.chosen, example.rejected)]
    assert isinstance(example, Feedback)
    turns = example.conversation.turns
    return [_judged(replace(example.conversation, turns=turns[:-1]), turns[-1:], renderer)]


def _conversation(conversation: Conversation, renderer: Renderer, wish: Learning) -> Draft:
    plain = _unweighted(conversation)
    rendered = _checked(renderer.render(plain))
    weights: tuple[float, ...] | None = None
    if plain is not conversation:
        spoken = zip(conversation.turns, plain.turns, strict=True)
        weights = _matched([turn.loss_weight for turn, bare in spoken if bare.loss_weight > 0], rendered)
    if wish.mask_history:
        before = len(_learned_runs(renderer.render(replace(plain, turns=plain.turns[:-1]), generation_prompt=True)))
        weights = _only_after(before, rendered, weights)
    return Draft(rendered, weights, wish.train_on_prompt)


def _judged(prompt: Conversation, answer: Sequence[Turn], renderer: Renderer) -> Draft:
    """Only the answer is learned: that is the part which is compared or judged."""
    plain = _unweighted(prompt)
    rendered = _checked(renderer.render(replace(plain, turns=(*plain.turns, *answer))))
    before = len(_learned_runs(renderer.render(plain, generation_prompt=True)))
    return Draft(rendered, _only_after(before, rendered, None))


def _unweighted(conversation: Conversation) -> Conversation:
    """The conversation without weights on the assistant's turns, so that it is cut into runs as generation would cut it."""
    if all(turn.weight is None or turn.role != "assistant" for turn in conversation.turns):
        return conversation
    turns = tuple(replace(turn, weight=None) if turn.role == "assistant" else turn for turn in conversation.turns)
    return replace(conversation, turns=turns)


def _learned_runs(rendered: Rendered) -> list[float]:
    """The weights of the learned runs: neighbouring pieces with one weight."""
    runs: list[float] = []
    last: float | None = None
    for piece in rendered.pieces:
        if piece.text and piece.weight != last:
            last = piece.weight
            if last > 0:
                runs.append(last)
    return runs


def _matched(weights: list[float], rendered: Rendered) -> tuple[float, ...]:
    if len(weights) != len(_learned_runs(rendered)):
        raise BadRow("the template joins or splits turns, so that their weights have no place of their own")
    return tuple(weights)


def _only_after(before: int, rendered: Rendered, weights: tuple[float, ...] | None) -> tuple[float, ...]:
    runs = list(weights or _learned_runs(rendered))
    return (*[0.0] * before, *runs[before:])


def _checked(rendered: Rendered) -> Rendered:
    if rendered.media:
        raise BadRow(f"this row holds {rendered.media[0].kind}s, which this version cannot prepare")
    return rendered


def weigh(encoded: Encoded, draft: Draft) -> Encoded:
    """Give the learned runs of an encoded draft the weights that it wants."""
    if draft.weights is None:
        return encoded
    wanted = iter(draft.weights)
    return replace(encoded, weights=[next(wanted, 0.0) if weight > 0 else 0.0 for weight in encoded.weights])


def learn_prompt(shortened: Encoded, encoded: Encoded) -> Encoded:
    """Learn the runs that ``encoded`` only sees, too; ``shortened`` is its beginning, weighed."""
    both = zip(shortened.weights, encoded.weights, strict=False)
    return replace(shortened, weights=[mine if before > 0 else 1.0 for mine, before in both])


# ---- facts and shorter versions --------------------------------------------------------------------------------------


def facts(example: Example) -> Mapping[str, Any] | None:
    """What a trainer gets to know of a row beside its tokens."""
    if isinstance(example, Feedback):
        return {"desirable": example.desirable}
    return example.extras if isinstance(example, Prompt) else None


def without_oldest(example: Example) -> Example | None:
    """The example without the oldest exchange of its history; ``None`` when it has no history to spare."""
    if isinstance(example, Preference):
        return _replaced(example.prompt, lambda shorter: replace(example, prompt=shorter))
    if isinstance(example, (Feedback, Prompt)):
        return _replaced(example.conversation, lambda shorter: replace(example, conversation=shorter))
    return _replaced(example, lambda shorter: shorter) if isinstance(example, Conversation) else None


def _replaced(conversation: Conversation, make: Callable[[Conversation], Example]) -> Example | None:
    starts = [number for number, turn in enumerate(conversation.turns) if turn.role == "user"]
    if len(starts) < 2:
        return None
    return make(replace(conversation, turns=conversation.turns[: starts[0]] + conversation.turns[starts[1] :]))
