"""``tunesmith explain``: what a key means, what it may be, who owns it, and every way to set it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from tunesmith.environment import PREFIX, known_variable, variables
from tunesmith.errors import TunesmithError
from tunesmith.keys import Key, KeyTable
from tunesmith.kinds import choices, describe, write_kind
from tunesmith.model_names import find_known, suggestion, templates_for
from tunesmith.plugins import Plugins
from tunesmith.specs import AXES
from tunesmith.translations import REFUSE, shown, translations


@click.command()
@click.argument("names", nargs=-1, metavar="[KEY]…")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def explain(plugins: Plugins, names: tuple[str, ...], as_json: bool) -> None:
    """What a configuration key means, its type, default and owner; of a published model its template and its hubs.

    Without KEY: all keys by owner.
    """
    table = KeyTable.of(plugins)
    facts = [model_facts(name, plugins) or key_facts(find_key(table, name), plugins) for name in names or table]
    if as_json:
        click.echo(json.dumps(facts[0] if len(names) == 1 else facts, indent=1, ensure_ascii=False))
    elif names:
        click.echo("\n\n".join("\n".join(_page(one)) for one in facts))
    else:
        click.echo("\n".join(_by_owner(table.values())))


def find_key(table: KeyTable, name: str) -> Key:
    """The key ``name``, also where it is written with dashes or is an environment variable.

    :raises TunesmithError: there is none; names the nearest, or the package that brings it.
    """
    bare = name.lstrip("-").replace("-", "_").partition(".")[0]
    variable = known_variable(name)
    for known in (bare, bare.removeprefix(PREFIX).lower(), variable.key if variable else ""):
        if known in table:
            return table[known]
    if variable:
        raise TunesmithError(f"The environment variable {name} sets no key: {variable.note}.")
    raise TunesmithError(f"There is no key {name}.", table.advice(bare))


def model_facts(name: str, plugins: Plugins) -> dict[str, Any]:
    """What the catalogues know of the model ``name``, as plain data; empty for a key.

    :raises TunesmithError: it is no key, and they know nothing.
    """
    if "/" not in name:
        return {}
    known, templates = find_known(name, plugins), templates_for(name, plugins)
    if not known and not templates:
        what, hint = f"No installed catalogue knows the model {name}.", suggestion(name, plugins)
        raise TunesmithError(what, hint or "tunesmith template list shows the templates.")
    return {"model": name, "templates": [*templates], "published": [{"name": row.name, **row.on_hubs} for row in known]}


def key_facts(key: Key, plugins: Plugins) -> dict[str, Any]:
    """Everything about a key, as plain data."""
    return {
        "name": key.name,
        "help": key.help,
        "status": key.status,
        "reason": key.reason,
        "type": write_kind(key.type),
        "must_be": describe(key.type, key.bounds),
        "default": key.default,
        "choices": choices(key.type) or _on_offer(key, plugins),
        "range": str(key.bounds) if key.bounds else "",
        "owner": key.owner,
        "group": key.group,
        "package": key.package,
        "version": plugins.owners[key.owner].version if key.owner in plugins.owners else "",
        "shared_with": key.shared_with,
        "only_with": key.only_with,
        "variables": [*(v.name for v in variables() if v.key == key.name), f"{PREFIX}{key.name.upper()}"],
        "translated": [_translation(row) for row in translations().get(key.name, ())],
    }


def _on_offer(key: Key, plugins: Plugins) -> tuple[str, ...]:
    """The names that installed plugins offer, where the key picks one of them."""
    return next((plugins.axis(axis.hook).names for axis in AXES if axis.selector == key.name), ())


def _translation(row: Any) -> str:
    given = f"{row.old}: {row.given or 'nothing'}" if row.given != "*" else row.old
    if row.new == REFUSE:
        return f"{given} is refused: {row.note}"
    if not row.new:
        return f"{given} is left out: {row.note}"
    return f"{given} is read as {row.new}" + (f": {row.value}" if row.value != "=" else "")


# ---- for people ------------------------------------------------------------------------------------------------------


def _page(facts: Mapping[str, Any]) -> Iterator[str]:
    if "model" in facts:
        yield from _model_page(facts)
        return
    yield click.style(facts["name"], bold=True) + (f": {facts['help']}" if facts["help"] else "")
    for title, text in _lines(facts):
        if text:
            yield f"  {title:<9}{text}"


def _model_page(facts: Mapping[str, Any]) -> Iterator[str]:
    yield click.style(facts["model"], bold=True)
    yield f"  template {' or '.join(facts['templates']) or 'none is known: a base model'}"
    for row in facts["published"]:
        places = ", ".join(f"{hub} {name}" for hub, name in row.items() if hub != "name")
        yield f"  {row['name']}: {places}"


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "status", _status(facts)
    yield "type", facts["must_be"]
    yield "default", shown(facts["default"])
    yield "choices", ", ".join(map(str, facts["choices"]))
    yield "acts", f"only with {facts['only_with'].replace('=', ': ')}" if facts["only_with"] else ""
    yield "owner", _owner(facts)
    yield "set by", f"{facts['name']}: …  {facts['name']}=…  --{facts['name']} …  {' '.join(facts['variables'])}"
    for line in facts["translated"]:
        yield "note", line


def _status(facts: Mapping[str, Any]) -> str:
    words = {"owned": "", "translated": "an old name", "later": "known, but not built yet", "refused": "not supported"}
    reason = facts["reason"] if facts["status"] == "refused" else ""
    return words[facts["status"]] + (f": {reason}" if reason else "")


def _owner(facts: Mapping[str, Any]) -> str:
    package = f"{facts['package']} {facts['version']}".strip()
    shared = f", shared with {', '.join(facts['shared_with'])}" if facts["shared_with"] else ""
    return f"{facts['owner']}, {facts['group']}" + (f" ({package})" if facts["package"] != facts["owner"] else "") + shared


def _by_owner(keys: Iterable[Key]) -> Iterator[str]:
    titles: dict[str, list[Key]] = {}
    for key in keys:
        title = f"{key.owner}: {key.group}" if key.status == "owned" else _TITLES[key.status]
        titles.setdefault(title, []).append(key)
    for title in sorted(titles, key=lambda title: (title in _TITLES.values(), title)):
        yield click.style(title, bold=True)
        for key in sorted(titles[title], key=lambda key: key.name):
            yield f"  {key.name:<42} {_short(key)}".rstrip()
        yield ""


_TITLES = {"later": "known, but not built yet", "translated": "old names", "refused": "not supported"}


def _short(key: Key) -> str:
    text = key.help or key.reason
    return text if len(text) <= 100 else f"{text[:99]}…"
