"""``serve_adapters``: adapters beside the model, which requests may ask for by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan


def further_adapters(plan: Plan) -> Mapping[str, str]:
    """Name → folder or hub name of each."""
    setting = plan.settings.get("serve_adapters")
    return named_paths(setting.value if setting else ())


def named_paths(entries: Sequence[str]) -> Mapping[str, str]:
    """``name=path`` of each entry, taken apart.

    :raises TunesmithError: one has another form, or a name stands twice.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, _, path = (part.strip() for part in entry.partition("="))
        if not name or not path:
            raise TunesmithError(f"serve_adapters: {entry!r} is not of the form name=path", "Write serve_adapters: name=path,…")
        if name in found:
            raise TunesmithError(f"serve_adapters names two adapters {name!r}", "Give each a name of its own.")
        found[name] = path
    return found
