"""Which keys count in this run, with the defaults of their owners filled in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING

from tunesmith.config import Setting
from tunesmith.environment import known_variable
from tunesmith.planning.draft import Draft
from tunesmith.spec import options_of

if TYPE_CHECKING:
    from tunesmith.keys import Key

ALWAYS = "host"
TRAINING_ARGUMENTS = "transformers"


def settle(draft: Draft) -> None:
    """Fill ``draft.settings`` with every key of every owner in use, and ``draft.unused`` with what was given in vain."""
    owned = _option_keys(draft)
    training = "trainers" in draft.command.picks  # also when the stage that was asked for is not here
    defaults = {key: (value, spec.name) for spec in draft.picked("trainers") for key, value in spec.defaults.items()}
    for name, key in draft.config.keys.items():
        in_use = key.owner == ALWAYS or name in owned or (training and key.owner == TRAINING_ARGUMENTS)
        if key.status != "owned":
            _known_key(draft, key)
        elif in_use:
            draft.settings.setdefault(name, _setting(draft, key, defaults))
        elif name in draft.config.settings and not known_variable(draft.config.settings[name].origin):
            draft.unused[name] = draft.config.settings[name]
    if training:
        _what_to_do(draft)


def _option_keys(draft: Draft) -> set[str]:
    """The keys of the options of every picked spec, and of every source and media reader: what comes from where, and what
    rows hold, is found out later."""
    later = (*draft.plugins.sources, *draft.plugins.media) if draft.command.picks else ()
    specs: Iterable[object] = [offer.spec for _, offer in draft.offers] + [offer.spec for offer in later] + [draft.command]
    kinds = [kind for spec in specs if (kind := options_of(spec))]
    return {item.name for kind in kinds for item in fields(kind)}


def _setting(draft: Draft, key: Key, defaults: dict[str, tuple[object, str]]) -> Setting:
    if key.name in draft.config.settings:
        return draft.config.settings[key.name]
    if key.name in defaults:
        value, stage = defaults[key.name]
        return Setting(value, f"default of stage {stage}", key.owner)
    return Setting(key.default, "default", key.owner)


def _known_key(draft: Draft, key: Key) -> None:
    """A key that a package still to come will own: what it asks for is not here, unless that has no effect in this run."""
    given = draft.config.settings.get(key.name)
    matters = key.matters(draft.value, draft.command.name)
    if given is None or (not matters and known_variable(given.origin)):  # launchers set theirs for every process
        return
    draft.unused[key.name] = given
    if matters and key.status == "later" and given.value not in (key.default, None, False):
        draft.lacks(
            key.name, f"{key.name}: {given.value} is not built yet", f"It will come with {key.owner}. {key.reason}".strip()
        )


def _what_to_do(draft: Draft) -> None:
    """``tunesmith train`` trains unless the user asked only to evaluate or predict."""
    asked = [key for key in ("do_train", "do_eval", "do_predict") if draft.given(key)]
    if not asked:
        draft.settings["do_train"] = Setting(True, "default of the command train", TRAINING_ARGUMENTS)
