"""What a plan says about its template: where it departs from the published one, and whether the model looks like another's."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.planning.draft import Draft
from tunesmith.specs import TemplateSpec
from tunesmith.templates.finding import declared


def advise(draft: Draft) -> None:
    """Read the picked template, so that a mistake in it is found now; note what the user should know."""
    for spec in draft.picked("templates"):
        try:
            template = declared(spec, draft.plugins, tool_format=draft.value("tool_format")).template
        except TunesmithError as error:
            draft.note_error("template", error)
            continue
        draft.notices += [f"template {spec.name}: {words}" for words in (*template.differs, *template.notes)]
        draft.notices += _mismatch(draft, spec)


def _mismatch(draft: Draft, spec: TemplateSpec) -> Iterable[str]:
    wish = draft.models.get("policy")
    if wish is None or not wish.path or _fits(wish.path, spec):
        return
    others = [offer.spec.name for offer in draft.plugins.templates if _fits(wish.path, offer.spec)]
    if others:
        yield f"{wish.path} looks like a model of the template {' or '.join(others)}; the run uses {spec.name}"


def _fits(path: str, spec: TemplateSpec) -> bool:
    """Whether a model's hub name, or the name of its folder, is one of those that the template is made for."""
    names = (path, Path(path).name)
    return any(fnmatchcase(name, p) or fnmatchcase(name, p.rpartition("/")[2]) for name in names for p in spec.models)
