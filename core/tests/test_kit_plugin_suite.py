"""The suite for plugins passes a good plugin and catches each way of being a bad one."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from tunesmith.testing import PluginSuite

GOOD = {
    "plugin.py": """
        from PACKAGE.options import ShrinkOptions
        from tunesmith import AdapterMark, CommandSpec, TunerSpec, hookimpl

        TUNESMITH_API = (1, 0)


        @hookimpl
        def tunesmith_tuners():
            return [
                TunerSpec(
                    name="shrink",
                    load="PACKAGE.tuner:Shrink",
                    summary="Make weights smaller.",
                    options=ShrinkOptions,
                    saves="adapter",
                    marks=(AdapterMark("shrink.json"),),
                )
            ]


        @hookimpl
        def tunesmith_commands():
            return [CommandSpec("shrunk", "PACKAGE.command:shrunk", "How small they are.")]
    """,
    "options.py": """
        from dataclasses import dataclass
        from typing import Annotated

        from tunesmith.options import Range


        @dataclass(frozen=True)
        class ShrinkOptions:
            shrink_by: Annotated[float, "How much smaller.", Range(above=0)] = 0.5
    """,
    "tuner.py": """
        from tunesmith.contracts import Tuner


        class Shrink(Tuner):
            def apply(self, model):
                return model

            def load(self, model, path, *, trainable):
                return model

            def save(self, model, directory):
                pass
    """,
    "command.py": '''
        import click


        @click.command()
        def shrunk():
            """Say how small the weights are."""
    ''',
    "pyproject.toml": """
        [project]
        name = "acme-shrink"
        [project.entry-points.tunesmith]
        shrink = "PACKAGE.plugin"
    """,
    "README.md": "`pip install acme-shrink`",
}
_number = count()

MakeSuite = Callable[..., PluginSuite]


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSuite:
    """The suite of a plugin written into a folder of its own: ``GOOD`` with one text of one file replaced by another."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(file: str = "", old: str = "", new: str = "") -> PluginSuite:
        package = f"kit_subject_{next(_number)}"
        folder = tmp_path / package
        folder.mkdir()
        for name, text in GOOD.items():
            good = textwrap.dedent(text)
            assert name != file or old in good
            (folder / name).write_text((good.replace(old, new) if name == file else good).replace("PACKAGE", package))
        facts = {"plugin": "shrink", "module": f"{package}.plugin", "folder": folder}
        made: PluginSuite = type("Suite", (PluginSuite,), facts)()
        return made

    return make


@pytest.fixture
def install(tmp_path: Path) -> Callable[[PluginSuite, str], None]:
    """Makes a suite's plugin look installed, as the entry point of a distribution."""

    def write(made: PluginSuite, name: str) -> None:
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[tunesmith]\n{name} = {made.module}\n")

    return write


def failures(made: PluginSuite) -> Iterator[tuple[str, str]]:
    """Each test that fails, and what it says."""
    for name in dir(made):
        if name.startswith("test_"):
            try:
                getattr(made, name)()
            except AssertionError as error:
                yield name, str(error)
            except pytest.skip.Exception:
                continue


def test_a_good_plugin_passes(suite: MakeSuite) -> None:
    assert dict(failures(suite())) == {}


PLUGIN, OPTIONS, TUNER, COMMAND = "plugin.py", "options.py", "tuner.py", "command.py"
HOOK = "def tunesmith_tuners():\n"
END = "\n\n\n@hookimpl\ndef tunesmith_c"
COUNTED = "globals().setdefault('seen', []).append(1) or str(len(seen))"

#: What is wrong → the change that makes it so, the test that must fail, and part of what it must say.
FAULTS = {
    "heavy import": (PLUGIN, "TUNESMITH_API", "import numpy\nTUNESMITH_API", "test_it_imports_nothing_heavy", "imports numpy"),
    "heavy hook": (PLUGIN, HOOK, f"{HOOK}    import numpy\n", "test_it_imports_nothing_heavy", "imports numpy"),
    "no interface version": (
        PLUGIN,
        "TUNESMITH_API = (1, 0)",
        "",
        "test_it_says_which_interface_it_was_written_for",
        "write TUN",
    ),
    "newer interface": (
        PLUGIN,
        "(1, 0)",
        "(1, 99)",
        "test_it_says_which_interface_it_was_written_for",
        "older than the plugin",
    ),
    "other interface": (PLUGIN, "(1, 0)", "(2, 0)", "test_it_says_which_interface_it_was_written_for", "must be the same"),
    "unknown hook": (
        PLUGIN,
        "tunesmith_tuners",
        "tunesmith_tunerz",
        "test_it_registers_and_its_hooks_exist",
        "tunesmith_tunerz",
    ),
    "import error": (PLUGIN, "TUNESMITH_API", "import gone\nTUNESMITH_API", "test_it_registers_and_its_hooks_exist", "'gone'"),
    "syntax error": (PLUGIN, "TUNESMITH_API", "][\nTUNESMITH_API", "test_it_registers_and_its_hooks_exist", "SyntaxError"),
    "unmarked hook": (PLUGIN, "@hookimpl\ndef tunesmith_t", "def tunesmith_t", "test_it_offers_something", "not marked"),
    "wrong spec": (PLUGIN, "TunerSpec(\n", "dict(\n", "test_it_registers_and_its_hooks_exist", "which is no TunerSpec"),
    "offered twice": (PLUGIN, f"]{END}", f"] * 2{END}", "test_it_registers_and_its_hooks_exist", "twice"),
    "answers that change": (
        PLUGIN,
        '"Make weights smaller."',
        COUNTED,
        "test_its_answers_do_not_depend_on_the_order_of_calls",
        "tuners",
    ),
    "long summary": (PLUGIN, "Make weights", "Make weights" + " very" * 20, "test_its_specs_are_well_formed", "at most 80"),
    "no summary": (PLUGIN, "Make weights smaller.", "", "test_its_specs_are_well_formed", "no summary"),
    "unwritable name": (PLUGIN, 'name="shrink"', 'name="shrink it"', "test_its_specs_are_well_formed", "holds a space"),
    "odd load": (PLUGIN, "PACKAGE.tuner:Shrink", "PACKAGE.tuner.Shrink", "test_its_specs_are_well_formed", "module:attribute"),
    "nothing behind it": (
        PLUGIN,
        "tuner:Shrink",
        "tuner:Grow",
        "test_its_objects_satisfy_their_contracts",
        "no attribute 'Grow'",
    ),
    "missing verb": (TUNER, "def save", "def write", "test_its_objects_satisfy_their_contracts", "has no save(self, model"),
    "wrong parameters": (
        TUNER,
        "model, path, *, trainable",
        "model, path",
        "test_its_objects_satisfy_their_contracts",
        "write load(self",
    ),
    "renamed parameter": (
        TUNER,
        "model, directory",
        "model, where",
        "test_its_objects_satisfy_their_contracts",
        "'where' where",
    ),
    "no class": (TUNER, "class Shrink(Tuner):", "class Shrunk(Tuner):", "test_its_objects_satisfy_their_contracts", "Shrink"),
    "not made from a plan": (TUNER, "(Tuner):", ":", "test_its_objects_satisfy_their_contracts", "has no __init__"),
    "made from more": (
        TUNER,
        "(Tuner):",
        "(Tuner):\n    def __init__(self, a, b): ...",
        "test_its_objects_satisfy_their_contracts",
        "'b'",
    ),
    "no command": (COMMAND, "@click.command()", "", "test_its_objects_satisfy_their_contracts", "no click command"),
    "no help": (
        COMMAND,
        '"""Say how small the weights are."""',
        "pass",
        "test_its_objects_satisfy_their_contracts",
        "has no help",
    ),
    "mutable options": (OPTIONS, "(frozen=True)", "", "test_its_options_are_documented", "not frozen"),
    "undocumented option": (OPTIONS, '"How much smaller.", ', "", "test_its_options_are_documented", "has no help"),
    "option without default": (OPTIONS, " = 0.5", "", "test_its_options_are_documented", "has no default"),
    "default out of range": (OPTIONS, "0.5", "0.0", "test_its_options_are_documented", "not above 0"),
    "loud key": (OPTIONS, "shrink_by", "ShrinkBy", "test_its_options_are_documented", "small letters"),
    "options of another kind": (OPTIONS, "@dataclass(frozen=True)", "", "test_its_options_are_documented", "no dataclass"),
    "no entry point": ("pyproject.toml", "shrink =", "shrunk =", "test_its_package_explains_itself", "declares"),
    "empty readme": ("README.md", "pip install", "uninstall", "test_its_package_explains_itself", "does not say"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_plugin_is_caught(fault: str, suite: MakeSuite) -> None:
    """By the test that is for it, in words that name the fault."""
    file, old, new, test, said = FAULTS[fault]
    with pytest.raises(AssertionError) as caught:
        getattr(suite(file, old, new), test)()
    assert said in str(caught.value)


def test_a_name_and_a_key_that_somebody_else_has_are_caught(
    suite: MakeSuite, install: Callable[[PluginSuite, str], None]
) -> None:
    """Each is named with the plugin that has it too."""
    install(suite(), "rival")
    found = dict(failures(suite()))
    assert list(found) == ["test_its_names_and_keys_clash_with_nobody"]
    (said,) = found.values()
    for offer in ("the tuner 'shrink'", "the command 'shrunk'", "the key 'shrink_by'"):
        assert f"{offer} is offered by rival and shrink" in said


@pytest.mark.parametrize(("key", "owner"), [("learning_rate", "transformers"), ("cutoff_len", "host")])
def test_a_key_of_the_host_or_of_transformers_is_caught(key: str, owner: str, suite: MakeSuite) -> None:
    with pytest.raises(AssertionError, match=rf"the key '{key}' is offered by .*{owner}"):
        suite(OPTIONS, "shrink_by", key).test_its_names_and_keys_clash_with_nobody()


def test_an_installed_plugin_is_found_by_its_name(suite: MakeSuite, install: Callable[[PluginSuite, str], None]) -> None:
    """Without ``module``, the entry point says where it is; a plugin that is not installed is an error that says so."""
    install(suite(), "shrink")
    named = type("Named", (PluginSuite,), {"plugin": "shrink"})()
    assert dict(failures(named)) == {}
    nobody = type("Nobody", (PluginSuite,), {"plugin": "nobody"})()
    with pytest.raises(pytest.fail.Exception, match="no installed package has the entry point 'nobody'"):
        nobody.test_it_registers_and_its_hooks_exist()


def test_what_cannot_be_imported_here_is_said(suite: MakeSuite) -> None:
    """A spec that needs an absent package is skipped aloud, not passed."""
    made = suite(PLUGIN, 'saves="adapter",', 'saves="adapter", needs=("gone_package",),')
    with pytest.raises(pytest.skip.Exception, match="gone_package is not installed"):
        made.test_its_objects_satisfy_their_contracts()
