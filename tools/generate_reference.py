"""Write the pages under docs/reference/ from the code of this checkout.

With ``--check``: change nothing, and fail naming the pages that are not current.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from checkout import CORE, ROOT
from combinations import Place, page
from docstrings import fields_of, is_abstract, markdown, methods_of, module_of, sections, signature, table
from own_plugins import own_plugins
from tunesmith import specs, testing
from tunesmith.keys import Key, KeyTable
from tunesmith.kinds import describe
from tunesmith.plugins import Plugins
from tunesmith.templates.filters import FILTERS
from tunesmith.templates.vocabulary import FACTS, KINDS, VALUES
from tunesmith.translations import Translation, translations

REFERENCE = ROOT / "docs" / "reference"
HEAD = "<!-- Made by tools/generate_reference.py from the code; change the code, then: make reference -->\n\n"


# ---- hooks, specs, contracts -----------------------------------------------------------------------------------------


def hooks() -> Iterator[str]:
    """Every hook in the order in which a run meets it."""
    path = CORE.source / "hookspecs.py"
    tree, titles = module_of(path), sections(path.read_text(encoding="utf-8"))
    yield "# Hooks"
    yield markdown(ast.get_docstring(tree))
    yield "A plugin implements a hook by a function of the same name in its `plugin.py`, marked with `tunesmith.hookimpl`."
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            for line in [line for line in titles if line < node.lineno]:
                yield f"## {titles.pop(line).capitalize()}"
            yield f"### `{node.name}`"
            yield f"```text\n{signature(node)}\n```"
            yield markdown(ast.get_docstring(node))


def spec_page() -> Iterator[str]:
    """Every spec with its fields, and the axes that pick from them."""
    tree = module_of(CORE.source / "specs.py")
    yield "# Specs"
    yield markdown(ast.get_docstring(tree))
    rows = [
        (
            f"`tunesmith_{a.hook}`",
            a.word,
            f"`{a.spec.__name__}`",
            f"`{a.selector or a.listed}`" if a.selector or a.listed else "",
        )
        for a in specs.AXES
    ]
    yield "## Axes"
    yield table(("hook", "word", "spec", "key that picks"), rows)
    for name in ("spec.py", "specs.py", "device_specs.py", "spread_specs.py", "role_specs.py", "quantizer_spec.py"):
        for node in module_of(CORE.source / name).body:
            if isinstance(node, ast.ClassDef):
                yield from _class(node)


#: What ``contracts.py`` only passes on.
OWN_MODULES = ("acceleration.py", "backend_facts.py", "generation.py", "outcome.py", "strategy_contract.py")


def contract_page() -> Iterator[str]:
    """Every contract with its verbs, and which of them have a working default."""
    path = CORE.source / "contracts.py"
    tree, titles = module_of(path), sections(path.read_text(encoding="utf-8"))
    yield "# Contracts"
    yield markdown(ast.get_docstring(tree))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for line in [line for line in titles if line < node.lineno]:
                yield f"## {titles.pop(line).capitalize()}"
            yield from _class(node, level="###")
    yield "## Contracts with a module of their own"
    for name in OWN_MODULES:
        for node in module_of(CORE.source / name).body:
            if isinstance(node, ast.ClassDef):
                yield from _class(node, level="###")


def _class(node: ast.ClassDef, level: str = "##") -> Iterator[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"{level} `{node.name}`" + (f" ({bases})" if bases else "")
    yield markdown(ast.get_docstring(node))
    rows = [
        (f"`{name}`", f"`{kind}`", f"`{default}`" if default else "", text) for name, kind, default, text in fields_of(node)
    ]
    if any(text for *_, text in rows):
        yield table(("field", "type", "default", "meaning"), rows)
    elif rows:
        yield table(("field", "type", "default"), [row[:3] for row in rows])
    for method in methods_of(node):
        given = "" if "Protocol" not in bases or is_abstract(method) else " *Has a default.*"
        yield f"{level}# `{signature(method)}`"
        yield (markdown(ast.get_docstring(method)) + given).strip()


# ---- configuration keys ----------------------------------------------------------------------------------------------


def keys() -> Iterator[str]:
    """Every configuration key that somebody in this checkout owns, by owner; then those that are known and not owned."""
    known = KeyTable.of(own_plugins())
    yield "# Configuration keys"
    yield (
        "A run is one flat file of these keys. `tunesmith explain KEY` prints the same for what is installed on your machine, "
        "and `tunesmith schema` gives the JSON Schema for editors."
    )
    for (owner, group), found in _grouped(known).items():
        yield f"## {owner}: {group}" if group else f"## {owner}"
        rows = [(f"`{key.name}`", describe(key.type, key.bounds), f"`{_default(key)}`", key.help) for key in found]
        yield table(("key", "what it takes", "default", "meaning"), rows)
    yield "## Known, and not a key of its own"
    yield "These names of other programs' configurations are recognised; each is translated, refused with a reason, or to come."
    rest = [(f"`{key.name}`", key.status, _fate(key)) for key in known.values() if key.status != "owned"]
    yield table(("key", "status", "what becomes of it"), sorted(rest))


def _grouped(known: Mapping[str, Key]) -> dict[tuple[str, str], list[Key]]:
    """Owned keys by owner and group: the host first, then plugins, then transformers."""
    order = {"host": 0, "transformers": 2}
    owned = sorted((k for k in known.values() if k.status == "owned"), key=lambda k: (order.get(k.owner, 1), k.owner, k.group))
    found: dict[tuple[str, str], list[Key]] = {}
    for key in owned:
        found.setdefault((key.owner, key.group), []).append(key)
    return found


def _fate(key: Key) -> str:
    if key.status == "translated":
        return "; ".join(map(_translation, translations().get(key.name, ()))) or key.reason
    return f"`{key.owner}`: {key.help}" if key.status == "later" else key.reason


def _translation(row: Translation) -> str:
    given = "" if row.given == "*" else f"`{row.given}`: "
    new = "refused" if row.new == "!" else "left out" if not row.new else f"`{row.new}`"
    value = "" if row.value in ("", "=") else f" `{row.value}`"
    return f"{given}{new}{value}" + (f" ({row.note})" if row.note else "")


def _default(key: Key) -> str:
    match key.default:
        case None:
            return "null"
        case bool():
            return str(key.default).lower()
        case tuple():
            return ",".join(map(str, key.default)) or "none"
        case _:
            return str(key.default)


# ---- the template language -------------------------------------------------------------------------------------------


def template_page() -> Iterator[str]:
    """Every key of a template's table, and every word that its slots and conditions may use."""
    folder = CORE.source / "templates"
    yield "# The template language"
    yield "A template is a table of a TOML file. [Add your model's template](../add-a-template.md) shows how one is written."
    for name in ("Template", "Thinking", "Channels", "DateRule", "Refusal", "ToolTable"):
        yield from _class(_class_named(folder / "model.py", name))
    yield "## Slots"
    yield markdown(ast.get_docstring(module_of(folder / "slots.py")))
    yield table(("what `{…}` may write", "meaning"), [(f"`{name}`", text) for name, text in VALUES.items()])
    yield "### Filters"
    yield markdown(ast.get_docstring(module_of(folder / "filters.py")).partition("\n\n")[0])
    yield table(("filter", "meaning"), [(f"`{name}`", one.meaning) for name, one in FILTERS.items()])
    yield "### Conditions"
    yield markdown(ast.get_docstring(module_of(folder / "conditions.py")))
    yield table(("fact", "when it holds"), [(f"`{name}`", text) for name, text in FACTS.items()])
    yield "`is` tests for: " + ", ".join(f"`{name}`" for name in KINDS) + "."


def _class_named(path: Path, name: str) -> ast.ClassDef:
    return next(node for node in module_of(path).body if isinstance(node, ast.ClassDef) and node.name == name)


# ---- commands, kit, Python, errors -----------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """What every command says to ``--help``."""
    from tunesmith.cli.main import cli

    plugins = own_plugins()
    yield "# Commands"
    yield _help(cli, click.Context(cli, info_name="tunesmith", obj=plugins, max_content_width=100, terminal_width=100))
    for offer in plugins.commands:
        yield f"## `tunesmith {offer.spec.name}`"
        yield f"Plugin: `{offer.owner.plugin}` (`{offer.owner.distribution}`)"
        yield from _command(offer.load(), f"tunesmith {offer.spec.name}", plugins)


def _command(command: click.Command, name: str, plugins: Plugins) -> Iterator[str]:
    yield _help(command, click.Context(command, info_name=name, obj=plugins, max_content_width=100, terminal_width=100))
    if isinstance(command, click.Group):
        for sub, inner in sorted(command.commands.items()):
            yield f"### `{name} {sub}`"
            yield from _command(inner, f"{name} {sub}", plugins)


def _help(command: click.Command, context: click.Context) -> str:
    with context:
        return f"```text\n{command.get_help(context).rstrip()}\n```"


def kit() -> Iterator[str]:
    """Every suite of the conformance kit with what it tests."""
    yield "# The conformance kit"
    yield markdown(testing.__doc__)
    for suite, module in testing.SUITES.items():
        node = _class_named(CORE.source / "testing" / f"{module}.py", suite)
        yield f"## `{suite}`"
        yield markdown(ast.get_docstring(node))
        tests = [(f"`{method.name}`", _first_line(method)) for method in methods_of(node) if method.name.startswith("test_")]
        yield table(("test", "what it asks"), tests)


def _first_line(function: ast.FunctionDef) -> str:
    return markdown(ast.get_docstring(function)).split("\n\n")[0]


def python() -> Iterator[str]:
    """The Python API, and the names a plugin author imports."""
    tree = module_of(CORE.source / "api.py")
    yield "# Tunesmith from Python"
    yield "`tunesmith.api` holds what the commands do, for programs. Its functions take a mapping of flat keys or a file."
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield f"## `{signature(node)}`"
            yield markdown(ast.get_docstring(node))
        elif isinstance(node, ast.ClassDef):
            yield from _class(node)
    names = importlib.import_module("tunesmith").__all__
    yield "## Names for plugin authors"
    yield "`from tunesmith import …` gives: " + ", ".join(f"`{name}`" for name in names) + "."


def errors() -> Iterator[str]:
    """What an error looks like and which exit status means what."""
    tree = module_of(CORE.source / "errors.py")
    yield "# Errors"
    yield (
        "A mistake in what you wrote ends with exit status 2 and no traceback: a line that says what is wrong, and a line that "
        "says what to write instead. A configuration is checked as a whole, so every mistake in it is shown at once, each with "
        "its place: `run.yaml:7`, `command line`, or the name of an environment variable. Anything else that ends a command is "
        "a defect of ours or of a plugin: it shows a traceback and exits with 1. Ctrl-C and SIGTERM exit with 130 after a "
        "training run has written a checkpoint."
    )
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _class(node)


COMBINATIONS = """\
Which tuner trains over weights held in which way, and in which stage: *yes* where a run can be planned, else the reason below.
The columns are the quantizers with their bits; *aware* means quantisation-aware training. A *no* is an error of the plan,
before anything is loaded. `make test` trains a cover of these combinations in which every pair occurs, `make matrix` all of
them, each for two steps on a small model."""


def combination_page() -> Iterator[str]:
    """Which tuner trains over which weights and in which stage, by what planning says."""
    yield "# What goes together"
    yield COMBINATIONS
    with TemporaryDirectory() as folder:
        yield from page(Place.for_planning(Path(folder), own_plugins()))


def tuner_page() -> Iterator[str]:
    """Every tuner with what its spec says of it."""
    yield "# Tuners"
    yield (
        "What `finetuning_type` may name. *Saves*: the whole model, or an adapter beside it. *Merged*: it can be folded into\n"
        "plain weights. *Off*: switched off, the model is its own reference. Which of them train over weights in few bits is\n"
        "on the page [What goes together](combinations.md)."
    )
    offers = sorted(own_plugins().tuners, key=lambda offer: (offer.owner.distribution, offer.spec.name))
    rows = [
        (
            f"`{offer.spec.name}`",
            offer.spec.summary,
            offer.spec.saves,
            "yes" if offer.spec.mergeable else "no",
            "yes" if offer.spec.disables else "no",
            ", ".join(offer.spec.needs),
            f"`{offer.owner.distribution}`",
        )
        for offer in offers
    ]
    yield table(("tuner", "what learns", "saves", "merged", "off", "needs", "comes with"), rows)


PAGES: Mapping[str, Callable[[], Iterator[str]]] = {
    "commands.md": commands,
    "keys.md": keys,
    "hooks.md": hooks,
    "specs.md": spec_page,
    "contracts.md": contract_page,
    "templates.md": template_page,
    "tuners.md": tuner_page,
    "combinations.md": combination_page,
    "kit.md": kit,
    "python.md": python,
    "errors.md": errors,
}


def generated() -> dict[Path, str]:
    """Every page with the text it should have."""
    return {REFERENCE / name: HEAD + "\n\n".join(filter(None, page())) + "\n" for name, page in PAGES.items()}


def main() -> None:
    """Write the pages, or with ``--check`` name those that are not current."""
    pages = generated().items()
    stale = {path: text for path, text in pages if not path.is_file() or path.read_text(encoding="utf-8") != text}
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(f"{path.relative_to(ROOT)} is not current: make reference" for path in stale) or 0)
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
