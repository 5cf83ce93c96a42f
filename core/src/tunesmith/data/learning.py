"""An example as the sequences that are encoded, and which of their runs are learned.

=============  ======================  ================================================================
kind           sequences               learned
=============  ======================  ================================================================
conversation   ``tokens``              every answer, or as its turn's weight says
preference     ``chosen rejected``     the answers that are compared; the prompt is only seen
feedback       ``tokens``              the last answer; facts: ``desirable``
document       ``tokens``              all of it
prompt         ``prompt``              nothing; facts: ``messages tools extras``
=============  ======================  ================================================================

A conversation whose learned answers cannot all stand in one text, since the template writes an earlier answer otherwise once
others follow it (reasoning models drop old thoughts), becomes an example for each learned answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.contracts import BadRow, Renderer, RewrittenReplies
from tunesmith.data.conversation import Conversation, Document, Example, Feedback, Piece, Preference, Prompt, Rendered, Turn
from tunesmith.data.prompt_facts import facts_of_prompt
from tunesmith.data.tokens import Encoded, Encoder
from tunesmith.errors import TunesmithError

#: Why what is no text cannot be read.
NO_READER = "the model has no processor for them (preprocessor_config.json), or no plugin that reads them is installed"

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
    tools: tuple[Mapping[str, Any], ...] = ()
    """Declared in prompts that bring none."""


@dataclass(slots=True)
class Draft:
    """A sequence before it is encoded. ``weights``: those of its learned runs in order; ``None`` leaves them as rendered.
    ``ended``: its last answer was given the stop token that the template's own text does not end it with.
    ``unsaid``: the template left its system text out, as some published ones do where a row ends with an answer."""

    rendered: Rendered
    weights: tuple[float, ...] | None = None
    prompt_too: bool = False
    ended: bool = False
    unsaid: bool = False

    @property
    def plain(self) -> bool:
        """Whether the weights are just those that were rendered."""
        return self.weights is None and not self.prompt_too


@dataclass(slots=True)
class Drafted:
    """An example and its sequences, in the order of :data:`SEQUENCES`."""

    example: Example
    drafts: list[Draft]


def drafted(example: Example, renderer: Renderer | None, encoder: Encoder, wish: Learning) -> list[Drafted]:
    """What an example becomes: itself, or an example for each answer where the template writes earlier ones anew.

    :raises BadRow: the template cannot express it.
    """
    if isinstance(example, Document):
        return [Drafted(example, [Draft(encoder.document(example.text))])]
    if renderer is None:
        raise TunesmithError("This dataset holds conversations, and the run has no template.", "Write template: NAME.")
    try:
        return [Drafted(one, made) for one, made in _rendered(example, renderer, wish)]
    except BadRow:
        raise
    except TunesmithError as error:
        raise BadRow(f"{error.message} {error.hint}".strip()) from error


def _rendered(example: Example, renderer: Renderer, wish: Learning) -> Iterator[tuple[Example, list[Draft]]]:
    if isinstance(example, Conversation):
        for one, draft in _conversations(example, renderer, wish):
            yield one, [draft]
    elif isinstance(example, Prompt):
        if not example.conversation.tools and wish.tools:
            example = replace(example, conversation=replace(example.conversation, tools=wish.tools))
        yield example, [Draft(_text_only(renderer.render(example.conversation, generation_prompt=True)), ())]
    elif isinstance(example, Preference):
        yield example, [_judged(example.prompt, answer, renderer) for answer in (example.chosen, example.rejected)]
    else:
        assert isinstance(example, Feedback)
        turns = example.conversation.turns
        yield example, [_judged(replace(example.conversation, turns=turns[:-1]), turns[-1:], renderer)]


def _conversations(conversation: Conversation, renderer: Renderer, wish: Learning) -> Iterator[tuple[Conversation, Draft]]:
    try:
        yield conversation, _conversation(conversation, renderer, wish)
    except RewrittenReplies:
        for one in _one_each(conversation):
            yield one, _conversation(one, renderer, wish)


def _one_each(conversation: Conversation) -> Iterator[Conversation]:
    """For each learned answer the conversation up to it, with nothing else learned."""
    turns = conversation.turns
    for at, turn in enumerate(turns):
        if turn.role == "assistant" and turn.loss_weight > 0:
            yield _unlearned(replace(conversation, turns=turns[: at + 1]), range(at))


def _conversation(conversation: Conversation, renderer: Renderer, wish: Learning) -> Draft:
    last = len(conversation.turns) - 1
    only_last = wish.mask_history or wish.train_on_prompt
    seen = {at for at, turn in enumerate(conversation.turns) if turn.loss_weight == 0 or (only_last and at < last)}
    plain, rendered = _whole(_unweighted(conversation), renderer, seen)
    weights: tuple[float, ...] | None = None
    if plain is not conversation:
        spoken = zip(conversation.turns, plain.turns, strict=True)
        weights = _matched([turn.loss_weight for turn, bare in spoken if bare.loss_weight > 0], rendered)
    if wish.mask_history:
        before = len(_learned_runs(renderer.render(replace(plain, turns=plain.turns[:-1]), generation_prompt=True)))
        weights = _only_after(before, rendered, weights)
    return _ended(Draft(rendered, weights, wish.train_on_prompt, unsaid=_unsaid(conversation, rendered)))


def _judged(prompt: Conversation, answer: Sequence[Turn], renderer: Renderer) -> Draft:
    """Only the answer is learned: that is the part which is compared or judged."""
    plain, count = _unweighted(prompt), len(prompt.turns)
    plain, rendered = _whole(replace(plain, turns=(*plain.turns, *answer)), renderer, set(range(count)))
    asked = replace(plain, turns=plain.turns[:count])
    before = len(_learned_runs(renderer.render(asked, generation_prompt=True)))
    return _ended(Draft(rendered, _only_after(before, rendered, None), unsaid=_unsaid(prompt, rendered)))


def _unsaid(conversation: Conversation, rendered: Rendered) -> bool:
    first = conversation.turns[0] if conversation.turns else None
    return first is not None and first.role == "system" and first.text.strip() not in rendered.text


def _ended(draft: Draft) -> Draft:
    rendered = draft.rendered
    if not rendered.end or (draft.weights is not None and not any(draft.weights[-1:])):
        return draft
    pieces = list(rendered.pieces)
    at = max(at for at, piece in enumerate(pieces) if piece.weight > 0 and piece.text)
    pieces.insert(at + 1, Piece(rendered.end, True, pieces[at].weight))
    return replace(draft, rendered=replace(rendered, pieces=tuple(pieces), end=""), ended=True)


def _whole(conversation: Conversation, renderer: Renderer, seen: Set[int]) -> tuple[Conversation, Rendered]:
    """The rendered conversation. Answers among ``seen`` that the template writes anew are taken out of what is learned: like
    in a prompt, they are no run of their own.

    :raises RewrittenReplies: an answer that is to be learned is written anew.
    """
    try:
        rendered = _checked(renderer.render(conversation), renderer)
    except RewrittenReplies as error:
        if not error.turns <= seen:
            raise
        conversation = _unlearned(conversation, error.turns)
        rendered = _checked(renderer.render(conversation), renderer)
    _check_kept(rendered.rewritten - seen, conversation, renderer)
    return conversation, rendered


def _check_kept(lost: Set[int], conversation: Conversation, renderer: Renderer) -> None:
    """Learned answers must stand as the model would write them."""
    if not lost:
        return
    last = len(conversation.turns) - 1
    if last in lost:
        why = f"the template {renderer.name!r} leaves out its reasoning, so that it cannot be learned."
        hint = "Write preserve_thinking: true, where the template knows it, or take the reasoning out of the data."
        raise TunesmithError(f"Turn {last + 1} (assistant): {why}", hint)
    raise RewrittenReplies("Answers are written otherwise once others follow them.", "", frozenset(lost))


def _unlearned(conversation: Conversation, which: Collection[int]) -> Conversation:
    turns = (
        replace(turn, weight=0.0) if turn.role == "assistant" and at in which else turn
        for at, turn in enumerate(conversation.turns)
    )
    return replace(conversation, turns=tuple(turns))


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


def _checked(rendered: Rendered, renderer: Renderer) -> Rendered:
    if rendered.media and renderer.media is None:
        raise BadRow(f"this row holds {rendered.media[0].kind}s: {NO_READER}")
    return rendered


def _text_only(rendered: Rendered) -> Rendered:
    if rendered.media:
        raise BadRow(f"this row holds {rendered.media[0].kind}s, which prompts for stages that answer cannot")
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
    return facts_of_prompt(example) if isinstance(example, Prompt) else None


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
