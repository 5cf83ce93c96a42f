"""One row of a run's data as the model gets to read it, for ``tunesmith template show``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from tunesmith.contracts import BadRow
from tunesmith.data.columns import fill
from tunesmith.data.conversation import Piece, Rendered
from tunesmith.data.dataset_info import names_of
from tunesmith.data.learning import Draft, Learning, drafts
from tunesmith.data.preparation import make_tools
from tunesmith.errors import TunesmithError
from tunesmith.plan import DatasetPlan, Plan
from tunesmith.plugins import Plugins
from tunesmith.templates.render import DeclaredRenderer


def rendered_row(plugins: Plugins, plan: Plan, number: int) -> tuple[str, Rendered, tuple[str, ...]]:
    """Row ``number`` (from 1) of the training data → its place, its text, and what is peculiar to the template.

    :raises TunesmithError: there is no such row, or it cannot be read.
    """
    place, dataset, row = _row(plan, plugins, number)
    encoder, renderer = make_tools(plan, plugins)
    spec = plugins.formats.get(dataset.format)
    words = {str(word): str(text) for word, text in dataset.entry.get("placeholders", {}).items()}
    wish = Learning(plan["mask_history"], plan["train_on_prompt"])
    try:
        example = spec.load()(*names_of(dataset, spec.spec)).read(fill(dict(row), words), dataset.kind)
        draft = drafts(example, renderer, encoder, wish)[0]
    except BadRow as error:
        raise TunesmithError(f"{place}: {error.reason}") from error
    notes = renderer.template.notes if isinstance(renderer, DeclaredRenderer) else ()
    return place, weighed(draft), notes


def _row(plan: Plan, plugins: Plugins, number: int) -> tuple[str, DatasetPlan, Mapping[str, Any]]:
    found = next(islice(_rows(plan, plugins), number - 1, None), None)
    if found is None and not plan.datasets:
        plan.check_ready()
    if found is None:
        raise TunesmithError(f"The training data has no row {number}.")
    return found


def _rows(plan: Plan, plugins: Plugins) -> Iterator[tuple[str, DatasetPlan, Mapping[str, Any]]]:
    for dataset in plan.datasets:
        if dataset.split == "train":
            source = plugins.sources.get(dataset.source).load()(dataset, plan)
            yield from ((place, dataset, row) for place, row in source.rows())


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
