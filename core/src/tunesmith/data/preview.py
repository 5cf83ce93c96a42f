"""The first rows of a run's data as the model gets to read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from tunesmith.contracts import BadRow, Format, Renderer, Source
from tunesmith.data.columns import fill
from tunesmith.data.conversation import Rendered
from tunesmith.data.dataset_rows import make_format
from tunesmith.data.learning import SEQUENCES, drafts, weigh
from tunesmith.data.preparation import make_tools, wishes_for
from tunesmith.data.tokens import Encoder
from tunesmith.data.work import Wishes
from tunesmith.host_options import DataOptions
from tunesmith.plan import DatasetPlan, Plan
from tunesmith.plugins import Plugins
from tunesmith.templates.showing import weighed


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
    tools = make_tools(plan, plugins)
    for dataset in plan.datasets:
        source: Source = plugins.sources.get(dataset.source).load()(dataset, plan)
        look = Look(dataset, make_format(dataset, plugins), wishes_for(dataset, plan.options(DataOptions)), *tools)
        for place, row in islice(source.rows(), count):
            yield from look.at(place, row)


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
        name = self.dataset.name
        try:
            example = self.format.read(fill(dict(row), self.wishes.placeholders), self.dataset.kind)
            made = drafts(example, self.renderer, self.encoder, self.wishes.learning)
        except BadRow as bad:
            yield Previewed(name, place, "", bad=f"{bad.column}: {bad.reason}" if bad.column else bad.reason)
            return
        encoded = self.encoder.encode([draft.rendered for draft in made])
        for sequence, draft, tokens in zip(SEQUENCES[self.dataset.kind], made, encoded, strict=True):
            runs = zip(weigh(tokens, draft).weights, tokens.lengths, strict=True)
            learned = sum(length for weight, length in runs if weight > 0 or draft.prompt_too)
            yield Previewed(name, place, sequence, weighed(draft), len(tokens), learned)
