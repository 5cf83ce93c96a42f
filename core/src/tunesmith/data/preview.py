"""The first rows of a run's data as the model gets to read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from tunesmith.contracts import BadRow, Format, Renderer, Source
from tunesmith.data.columns import fill
from tunesmith.data.conversation import Piece, Rendered
from tunesmith.data.dataset_rows import make_format
from tunesmith.data.learning import SEQUENCES, Draft, drafted, weigh
from tunesmith.data.preparation import make_tools, tools_of, wishes_for
from tunesmith.data.tokens import Encoder
from tunesmith.data.work import Wishes
from tunesmith.errors import TunesmithError
from tunesmith.host_options import DataOptions
from tunesmith.plan import DatasetPlan, Plan
from tunesmith.plugins import Plugins


@dataclass(frozen=True)
class Previewed:
    """One sequence of one row, or why there is none (``bad``). ``learned`` counts tokens."""

    dataset: str
    place: str
    sequence: str
    rendered: Rendered = field(default_factory=lambda: Rendered(()))
    tokens: int = 0
    learned: int = 0
    bad: str = ""


def preview(plan: Plan, plugins: Plugins, count: int) -> Iterator[Previewed]:
    """The first ``count`` rows of each dataset, before anything is cut."""
    for dataset, look in looks(plan, plugins):
        for place, row in islice(rows_of(dataset, plan, plugins), count):
            yield from look.at(place, row)


def preview_row(plan: Plan, plugins: Plugins, number: int) -> tuple[Previewed, ...]:
    """Row ``number`` (from 1) of the training data, before anything is cut: one sequence, two of a
    preference, or one for each answer where the template writes earlier ones anew.

    :raises TunesmithError: there is no such row.
    """
    before = 0
    for dataset, look in looks(plan, plugins):
        if dataset.split != "train":
            continue
        for count, (place, row) in enumerate(rows_of(dataset, plan, plugins), start=before + 1):
            if count == number:
                return tuple(look.at(place, row))
            before = count
    raise TunesmithError(f"The training data has no row {number}.", f"It has {before} rows.")


def looks(plan: Plan, plugins: Plugins) -> Iterator[tuple[DatasetPlan, Look]]:
    """Each dataset with what its rows are read and rendered with."""
    tools = make_tools(plan, plugins)
    for dataset in plan.datasets:
        wishes = wishes_for(dataset, plan.options(DataOptions), tools_of(plan, plugins))
        yield dataset, Look(dataset, make_format(dataset, plugins), wishes, *tools)


def rows_of(dataset: DatasetPlan, plan: Plan, plugins: Plugins) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The rows of one dataset with their places."""
    source: Source = plugins.sources.get(dataset.source).load()(dataset, plan)
    return source.rows()


@dataclass(frozen=True)
class Look:
    """What one dataset's rows are read and rendered with."""

    dataset: DatasetPlan
    format: Format
    wishes: Wishes
    encoder: Encoder
    renderer: Renderer | None

    def at(self, place: str, row: Mapping[str, object]) -> Iterator[Previewed]:
        """The sequences of one row."""
        try:
            example = self.format.read(fill(dict(row), self.wishes.placeholders), self.dataset.kind)
            made = drafted(example, self.renderer, self.encoder, self.wishes.learning)
        except BadRow as bad:
            yield Previewed(self.dataset.name, place, "", bad=f"{bad.column}: {bad.reason}" if bad.column else bad.reason)
            return
        for number, one in enumerate(made, start=1):
            part = f", answer {number} of {len(made)}" if len(made) > 1 else ""
            yield from self._sequences(f"{place}{part}", one.drafts)

    def _sequences(self, place: str, made: Sequence[Draft]) -> Iterator[Previewed]:
        encoded = self.encoder.encode([draft.rendered for draft in made])
        for sequence, draft, tokens in zip(SEQUENCES[self.dataset.kind], made, encoded, strict=True):
            runs = zip(weigh(tokens, draft).weights, tokens.lengths, strict=True)
            learned = sum(length for weight, length in runs if weight > 0 or draft.prompt_too)
            yield Previewed(self.dataset.name, place, sequence, weighed(draft), len(tokens), learned)


def weighed(draft: Draft) -> Rendered:
    """A draft's text with the weights that the run wants of it."""
    pieces: list[Piece] = []
    wanted = iter(draft.weights) if draft.weights is not None else None
    last, weight = 0.0, 0.0
    for piece in draft.rendered.pieces:
        if piece.weight != last:
            last = piece.weight
            weight = last if wanted is None or not last else next(wanted, 0.0)
        shown = 1.0 if draft.prompt_too and not piece.weight else weight
        pieces.append(piece._replace(weight=shown))
    return Rendered(tuple(pieces), draft.rendered.media)
