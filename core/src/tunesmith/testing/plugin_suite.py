"""The suite that every plugin package runs."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tunesmith import API_VERSION, hookimpl, specs
from tunesmith.keys import KeyTable
from tunesmith.plugins import GROUP, Plugins
from tunesmith.spec import options_of
from tunesmith.testing.apart import Sighting, look_apart
from tunesmith.testing.spec_check import missing_packages, object_faults, option_faults, spec_faults

_COLLECT = frozenset(f"tunesmith_{axis.hook}" for axis in specs.AXES)


class PluginSuite:
    """That a plugin is light, honest about what it offers, and gets on with everything else that is installed.

    Set ``plugin`` to the name of the entry point, and ``folder`` to the package's folder so that its README and
    ``pyproject.toml`` are looked at too. A plugin that is not installed is named by ``module`` as well::

        from pathlib import Path
        from tunesmith.testing import PluginSuite

        class TestAcme(PluginSuite):
            plugin = "acme"
            folder = Path(__file__).parents[1]
    """

    plugin: ClassVar[str]
    module: ClassVar[str] = ""
    folder: ClassVar[Path | None] = None

    # -- what is under test ----------------------------------------------------------------------------------------

    @cached_property
    def entry(self) -> EntryPoint:
        """The entry point under test, as if it were the only one installed."""
        if self.module:
            return EntryPoint(self.plugin, self.module, GROUP)
        found = list(entry_points(group=GROUP, name=self.plugin))
        if not found:
            pytest.fail(f"no installed package has the entry point {self.plugin!r} in the group {GROUP!r}: pip install -e .")
        return found[0]

    @cached_property
    def alone(self) -> Plugins:
        """The host with this plugin only."""
        return Plugins(found=[self.entry])

    @cached_property
    def offers(self) -> list[tuple[specs.Axis, Any]]:
        """Axis and spec of everything that it offers."""
        mine = [(axis, offer.spec) for axis, offer in self.alone.offers() if offer.owner.plugin == self.plugin]
        assert self.plugin not in self.alone.broken, str(self.alone.broken[self.plugin])
        return mine

    @cached_property
    def specs(self) -> list[Any]:
        """Every spec that it offers."""
        return [spec for _, spec in self.offers]

    def apart(self) -> Sighting:
        """What it did in a process of its own."""
        seen = look_apart(self.plugin, self.entry.value)
        assert not seen.error, seen.error
        return seen

    # -- tests -----------------------------------------------------------------------------------------------------

    def test_it_registers_and_its_hooks_exist(self) -> None:
        """It imports, its hooks are hooks of the host, and it says a fitting interface version."""
        self.apart()

    def test_it_says_which_interface_it_was_written_for(self) -> None:
        """``TUNESMITH_API`` is two numbers that this host satisfies."""
        wanted = getattr(importlib.import_module(self.entry.value), "TUNESMITH_API", None)
        assert isinstance(wanted, tuple), f"write TUNESMITH_API = {API_VERSION} in {self.entry.value}"
        major, minor = wanted
        assert major == API_VERSION[0], f"{wanted} does not fit {API_VERSION}: the first number must be the same"
        assert minor <= API_VERSION[1], f"{wanted} does not fit {API_VERSION}: this host is older than the plugin"

    def test_it_imports_nothing_heavy(self) -> None:
        """Discovering it and asking what it offers imports its own files, the core and the standard library only."""
        foreign = self.apart().foreign
        assert not foreign, f"importing {self.entry.value} and asking it imports {', '.join(foreign)}; move that behind load="

    def test_its_answers_do_not_depend_on_the_order_of_calls(self) -> None:
        """Asked again and in the opposite order, it gives the same answers."""
        seen = self.apart()
        assert seen.forward == seen.backward

    def test_it_can_be_switched_off(self) -> None:
        """``--without`` keeps its module from being imported, and nothing of it is left."""
        assert not self.apart().imported_when_off, f"{self.entry.value} is imported although it is switched off"
        off = Plugins(found=[self.entry], without=[self.plugin])
        assert self.plugin not in off.owners
        assert not [offer for _, offer in off.offers() if offer.owner.plugin == self.plugin]

    def test_it_offers_something(self) -> None:
        """It has at least one hook, each is marked as one, and those that collect return something."""
        functions = inspect.getmembers(importlib.import_module(self.entry.value), inspect.isfunction)
        hooks = {name: function for name, function in functions if name.startswith("tunesmith_")}
        assert hooks, f"{self.entry.value} has no function named tunesmith_…"
        _none(f"{name} is not marked with @hookimpl, so nobody calls it" for name in hooks if not _is_marked(hooks[name]))
        assert self.specs or not _COLLECT.issuperset(hooks), f"{', '.join(hooks)} of {self.entry.value} return nothing"

    def test_its_specs_are_well_formed(self) -> None:
        """Names can be written in a configuration, summaries fit on a line, loads are module:attribute."""
        _none(fault for spec in self.specs for fault in spec_faults(spec))

    def test_its_options_are_documented(self) -> None:
        """Options are frozen dataclasses in which every field has help and a default."""
        _none(fault for kind in {options_of(spec) for spec in self.specs} for fault in option_faults(kind))

    def test_its_objects_satisfy_their_contracts(self) -> None:
        """What each spec loads has the verbs of its contract, with their signatures."""
        ready = [spec for spec in self.specs if not missing_packages(spec)]
        _none(fault for spec in ready for fault in object_faults(spec))
        if absent := sorted({name for spec in self.specs for name in missing_packages(spec)}):
            pytest.skip(f"not all objects were looked at: {', '.join(absent)} is not installed")

    def test_its_names_and_keys_clash_with_nobody(self) -> None:
        """No other installed plugin offers the same name, and its flat keys are its own (the host's count too)."""
        others = [entry for entry in entry_points(group=GROUP) if entry.name != self.plugin]
        together = Plugins(found=[*others, self.entry])
        keys = {key: [one.owner for one in ones] for key, ones in KeyTable.of(together).clashes.items()}
        mine = [_said("key", key, owners) for key, owners in keys.items() if self.plugin in owners]
        _none([*_name_clashes(together, self.plugin), *mine])

    def test_its_package_explains_itself(self) -> None:
        """README.md says what it is and how to install it; ``pyproject.toml`` declares the entry point."""
        if self.folder is None:
            pytest.skip("no folder was given")
        project = tomllib.loads((self.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        declared = project.get("entry-points", {}).get(GROUP, {})
        assert declared.get(self.plugin) == self.entry.value, f"pyproject.toml declares {declared}"
        readme = self.folder / project.get("readme", "README.md")
        assert readme.is_file(), f"there is no {readme.name}"
        said = f"pip install {project['name']}"
        assert said in readme.read_text(encoding="utf-8"), f"{readme.name} does not say {said}"


def _none(faults: Iterable[str]) -> None:
    """Fail with every fault, one a line."""
    listed = sorted(set(faults))
    assert not listed, "\n" + "\n".join(listed)


def _is_marked(function: Any) -> bool:
    return hasattr(function, f"{hookimpl.project_name}_impl")


def _name_clashes(together: Plugins, plugin: str) -> Iterator[str]:
    for axis in specs.AXES:
        clashes = together.axis(axis.hook).clashes.items()
        yield from (_said(axis.word, name, owners) for name, owners in clashes if plugin in owners)


def _said(word: str, name: str, owners: Iterable[str]) -> str:
    return f"the {word} {name!r} is offered by {' and '.join(owners)}"
