"""Rendered pieces → token ids with loss weights, many rows at once.

A row is cut into *runs*: neighbouring pieces with one weight, joined before they are encoded, so that their ids are those of
the whole text. The border between two runs is always a border between tokens: it is where generation starts, and therefore
the ids of a prompt are a prefix of the ids of its training row. Within a run the template's special tokens become their ids,
and the *stretches* of text between them go to the tokenizer with the splitting of special tokens switched off, so that
nobody's text can forge one.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Conversation, Media, Piece, Rendered, Text, Tokens, Turn
from tunesmith.data.stretches import REMEMBERED, SHORT, Batch, Reader, Splitter
from tunesmith.data.tokenizer_files import CONFIG, FILE, TokenizerFiles, read_tokenizer
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import BASE_CHANGES, check_pinned, read_json
from tunesmith.model_stores import place_in
from tunesmith.plan import ModelWish, Plan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids: TypeAlias = NDArray[np.int32]


@dataclass(slots=True)
class Encoded:
    """One row: ``ids`` (int32), for each run the index at which it ends and its loss weight, and what is seen in it."""

    ids: Ids
    ends: list[int]
    weights: list[float]
    media: tuple[Media, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def learned(self) -> bool:
        """Whether any token has a weight above zero."""
        start = 0
        for end, weight in zip(self.ends, self.weights, strict=True):
            if weight > 0 and end > start:
                return True
            start = end
        return False

    @property
    def lengths(self) -> list[int]:
        """Tokens in each run."""
        return [end - start for start, end in zip([0, *self.ends], self.ends, strict=False)]

    def tokens(self) -> Tokens:
        """The same with one weight to each token."""
        import numpy as np

        return Tokens(self.ids, np.repeat(np.array(self.weights, np.float32), self.lengths))


class Encoder:
    """Encodes rendered rows with one tokenizer."""

    def __init__(self, files: TokenizerFiles) -> None:
        self.files = files
        self.fingerprint = files.fingerprint
        self._splitter = Splitter(files)

    def encode(self, rows: Sequence[Rendered]) -> list[Encoded]:
        """Encode rows in one batch of the tokenizer."""
        batch = Batch()
        reader = Reader(self._splitter, batch)
        for row in rows:
            reader.read(row.pieces)
        items, short = batch.items, self._splitter.short
        for bare, tokenizer in ((False, self.files.plain), (True, self.files.bare)):
            texts = batch.texts[bare]
            found = tokenizer.encode_batch_fast(texts, add_special_tokens=False) if texts else ()
            for index, text, encoding in zip(batch.waiting[bare], texts, found, strict=True):
                items[index] = encoding
                if len(text) <= SHORT and len(short) < REMEMBERED:
                    short[text, bare] = items[index] = encoding.ids
        return _assemble(batch)

    def tokens(self, rendered: Rendered) -> Tokens:
        """Encode one row."""
        return self.encode([rendered])[0].tokens()

    def ids(self, rendered: Rendered) -> tuple[int, ...]:
        """The ids of one row, as an engine wants them."""
        return tuple(self.encode([rendered])[0].ids.tolist())

    def document(self, text: str) -> Rendered:
        """A document as it is learned: what the tokenizer puts before every text, the text, the end-of-sequence token.

        :raises TunesmithError: the tokenizer names no end-of-sequence token.
        """
        if not self.files.eos:
            config = self.files.folder / CONFIG
            raise TunesmithError(f"{self.files.folder} names no end-of-sequence token.", f"Write eos_token into {config}.")
        lead = "".join(str(self.files.plain.id_to_token(id_)) for id_ in self.files.lead)
        return Rendered((Piece(lead, True), Piece(text, False, 1.0), Piece(self.files.eos, True, 1.0)))


def _assemble(batch: Batch) -> list[Encoded]:
    """The rows of a batch. An encoding's list of ids is dropped before the next one is made, so that few are alive at once."""
    import numpy as np

    joined, at = array("i"), [0]
    for item in batch.items:
        joined.fromlist(item if type(item) is list else item.ids)
        at.append(len(joined))
    ids: Ids = np.asarray(joined)
    rows: list[Encoded] = []
    first = start = 0
    for last in batch.row_ends:
        ends = [at[item] - start for item in batch.run_ends[first:last]]
        end = start + ends[-1] if ends else start
        rows.append(Encoded(ids[start:end], ends, batch.weights[first:last]))
        first, start = last, end
    return rows


# ---- the tokenizer of a run ------------------------------------------------------------------------------------------

_SAMPLE = Conversation((Turn("user", (Text("a"),)), Turn("assistant", (Text("b"),)), Turn("user", (Text("c"),))))


def tokenizer_folder(plan: Plan, wish: ModelWish | None = None) -> Path:
    """The folder of a model's tokenizer, the policy's unless ``wish`` says whose: beside the model, or beside the last of its
    adapters that brought tokens of its own.

    :raises TunesmithError: the model is not on this machine.
    """
    wish = wish or plan.models["policy"]
    for name in reversed(wish.adapters):
        folder = place_in(plan, name).folder
        inside = folder / (_setting(plan, "adapter_folder") or "") if folder else None
        if inside and (inside / BASE_CHANGES).is_file():
            return inside
    return place_in(plan, str(wish.path)).found()


def make_encoder(plan: Plan, renderer: Renderer | None) -> Encoder:
    """The encoder of a run: the policy's tokenizer with the tokens that the run adds.

    :param renderer: the run's renderer; what it marks turns with cannot be written by anybody else.
    :raises TunesmithError: the model is not here, or has no tokenizer.
    """
    folder = tokenizer_folder(plan)
    read = partial(
        read_tokenizer,
        folder,
        add=_setting(plan, "add_tokens") or (),
        add_special=_setting(plan, "add_special_tokens") or (),
        own_code=runs_own_code(plan, folder),
    )
    files = read()
    marks = _marks(renderer, files.words) if renderer else set()
    return Encoder(read(marks=marks) if marks else files)


def runs_own_code(plan: Plan, folder: Path) -> bool:
    """Whether code that comes with the tokenizer is run: only when it was asked for, is needed, and cannot change unseen.

    :raises TunesmithError: it was asked for and is not pinned.
    """
    if not _setting(plan, "trust_remote_code") or (folder / FILE).is_file() or "auto_map" not in read_json(folder, CONFIG):
        return False
    check_pinned(str(plan.models["policy"].path), _setting(plan, "model_revision") or "main")
    return True


def _setting(plan: Plan, key: str) -> Any:
    return plan[key] if key in plan.settings else None


def _marks(renderer: Renderer, words: frozenset[str]) -> set[str]:
    """The added words that the template itself writes around the turns of a plain conversation."""
    control = "\0".join(piece.text for piece in renderer.render(_SAMPLE, generation_prompt=True).pieces if piece.control)
    return {word for word in words if word in control and not word.isspace()}
