"""Every package has the same shape, and none reaches where it must not."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from checkout import CORE, GROUPS, ROOT, Package, plugin_packages

PLUGINS = plugin_packages()
EVERYTHING = [CORE, *PLUGINS]
UMBRELLA = configparser.ConfigParser()
UMBRELLA.read(ROOT / "setup.cfg", encoding="utf-8")

each_package = pytest.mark.parametrize("package", EVERYTHING, ids=str)
each_plugin = pytest.mark.parametrize("package", PLUGINS, ids=str)


def imports_of(module: Path) -> set[str]:
    """Full names of everything that a module imports, wherever the statement stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_the_groups_are_not_empty() -> None:
    assert {package.folder.parent.name for package in PLUGINS} == set(GROUPS)


# -- shape ---------------------------------------------------------------------------------------------------------------


@each_package
def test_a_package_has_readme_code_types_and_tests(package: Package) -> None:
    wanted = [package.folder / "README.md", package.source / "__init__.py", package.source / "py.typed"]
    assert not [path for path in wanted if not path.is_file()]
    assert list((package.folder / "tests").glob("test_*.py")), "no tests beside the package"


@each_plugin
def test_the_entry_point_is_named_after_the_package(package: Package) -> None:
    declared = package.project["entry-points"]["tunesmith"]
    assert declared == {package.plugin: f"{package.import_name}.plugin"}
    assert (package.source / "plugin.py").is_file()


@each_plugin
def test_a_package_is_named_after_its_folder(package: Package) -> None:
    folder, group = package.folder.name, package.folder.parent.name
    assert package.distribution in (f"tunesmith-{folder}", f"tunesmith-{folder}-{group}")


@each_plugin
def test_the_installed_entry_point_is_that_of_the_checkout(package: Package) -> None:
    (entry,) = entry_points(group="tunesmith", name=package.plugin)
    assert Path(entry.load().__file__) == package.source / "plugin.py"


@each_package
def test_versions_agree(package: Package) -> None:
    version = UMBRELLA["metadata"]["version"]
    assert package.project["version"] == version
    if package is CORE:
        assert f'__version__ = "{version}"' in (CORE.source / "__init__.py").read_text(encoding="utf-8")


@each_plugin
def test_a_plugin_requires_the_core_and_no_other_package_of_ours(package: Package) -> None:
    ours = [wanted for wanted in package.project["dependencies"] if wanted.startswith("tunesmith")]
    assert len(ours) == 1
    assert re.fullmatch(r"tunesmith-core(\[runtime\])?>=0\.1,<0\.2", ours[0])


def test_the_umbrella_names_every_package_once() -> None:
    default = UMBRELLA["options"]["install_requires"].split()
    optional = UMBRELLA["options.extras_require"]["all"].split()
    named = [re.split(r"[\[>=<]", wanted)[0] for wanted in (*default, *optional)]
    assert sorted(named) == sorted(package.distribution for package in EVERYTHING)


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for package in EVERYTHING for path in (package.folder / "tests").rglob("test_*.py")]
    names += [path.name for path in (ROOT / "tests").glob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}


# -- who imports what ----------------------------------------------------------------------------------------------------


@each_plugin
def test_declaring_imports_only_the_host_the_library_and_own_options(package: Package) -> None:
    """A check of the plan may use a further module of the package, from within its function, if that one is as light."""
    waiting, seen = [package.source / "plugin.py", *package.source.glob("options.py")], set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        for name in imports_of(module):
            own = package.source / (name.removeprefix(f"{package.import_name}.").replace(".", "/") + ".py")
            if name.startswith(f"{package.import_name}.") and own.is_file():
                waiting += [own] if own not in seen else []
                assert own.stem == "options" or module.stem != "plugin" or name not in top_level_imports(module)
                continue
            assert name.split(".")[0] in {"tunesmith", *sys.stdlib_module_names}, f"{module} imports {name}"
            assert not name.startswith(("tunesmith.runtime", "tunesmith.testing")), f"{module} imports {name}"


def top_level_imports(module: Path) -> set[str]:
    """What a module imports as soon as it is imported itself."""
    body = ast.parse(module.read_text(encoding="utf-8")).body
    return {node.module or "" for node in body if isinstance(node, ast.ImportFrom)}


@each_package
def test_no_package_imports_another_plugin(package: Package) -> None:
    others = {other.import_name for other in PLUGINS} - {package.import_name}
    reached = {
        (str(m.relative_to(ROOT)), name) for m in package.modules() for name in imports_of(m) if name.split(".")[0] in others
    }
    assert not reached


# -- names that say nothing ----------------------------------------------------------------------------------------------

VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "core"}


@each_package
def test_no_file_has_a_name_that_says_nothing(package: Package) -> None:
    assert not [path for path in package.folder.rglob("*.py") if path.stem in VAGUE]


@each_package
def test_every_module_says_what_it_is(package: Package) -> None:
    silent = []
    for module in package.modules():
        text = module.read_text(encoding="utf-8")
        if text.strip() and not ast.get_docstring(ast.parse(text)):
            silent.append(str(module.relative_to(ROOT)))
    assert not silent
