"""Which special tokens belong to an answer's text: those that the template itself writes into answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Call, Conversation, Text, Thought, Turn
from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}
_ASKED = Turn("user", (Text("a"),))
_REPLIES = ((Thought("b"), Text("c")), (Text("c"),), (Call("f", {"x": 1}, "call00001"),))


def hidden_tokens(renderer: Renderer, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that ``skip_special_tokens`` leaves out: special tokens, but for those that mark a thought or a tool call.

    Without the latter a tool call could not be read back from the text where its mark is a special token.
    """
    special = {id_: str(token) for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    learned = "".join(_learned(renderer))
    return frozenset(id_ for id_, word in special.items() if word not in learned or word in renderer.stop)


def _learned(renderer: Renderer) -> Iterator[str]:
    """What the template makes a model learn to say, stop tokens included."""
    for parts in _REPLIES:
        try:
            rendered = renderer.render(Conversation((_ASKED, Turn("assistant", parts)), (_TOOL,) if len(parts) == 1 else ()))
        except TunesmithError:
            continue  # a template without tools, or without thoughts, writes no marks for them
        yield from (piece.text for piece in rendered.pieces if piece.weight > 0)
