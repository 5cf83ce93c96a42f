"""What a plan says about its template: where it departs from the published one, and whether the model looks like another's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.model_folder import read_json
from tunesmith.model_names import templates_for
from tunesmith.planning.draft import Draft
from tunesmith.planning.models import base_of, find_in
from tunesmith.specs import TemplateSpec
from tunesmith.templates.finding import declared
from tunesmith.templates.reasoning import check_effort


def advise(draft: Draft) -> None:
    """Read the picked template, so that a mistake in it is found now; note what the user should know."""
    for spec in draft.picked("templates"):
        try:
            template = declared(spec, draft.plugins, tool_format=draft.value("tool_format")).template
        except TunesmithError as error:
            draft.note_error("template", error)
            continue
        try:
            check_effort(template, draft.value("reasoning_effort"))
        except TunesmithError as error:
            draft.note_error("reasoning_effort", error)
        draft.notices += [f"template {spec.name}: {words}" for words in (*template.differs, *template.notes)]
        draft.notices += _mismatch(draft, spec)


def _mismatch(draft: Draft, spec: TemplateSpec) -> Iterable[str]:
    wish = draft.models.get("policy")
    if wish is None or not wish.path:
        return
    for name in _names(draft, wish.path):
        if fitting := templates_for(name, draft.plugins):
            if spec.name not in fitting:
                whose = wish.path if name == wish.path else f"{wish.path} (recorded as {name})"
                yield f"{whose} looks like a model of the template {' or '.join(fitting)}; the run uses {spec.name}"
            return


def _names(draft: Draft, path: str) -> Iterator[str]:
    """What the model is called: by the run, by its own files, and by what it was trained from."""
    yield path
    folder = find_in(draft, path).folder
    if folder is None:
        return
    try:
        recorded = (read_json(folder, "config.json").get("_name_or_path"), base_of(folder))
    except TunesmithError:  # wish() has reported the broken file
        return
    for name in recorded:
        if name and Path(str(name)) != Path(path):
            yield str(name)
