"""Discovery: order, clashes, broken plugins, switching off, interface versions, local plugins."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tunesmith import API_VERSION, TunesmithError
from tunesmith.plugins import Plugins, switched_off
from tunesmith.testing.hand_plan import hand_plan

HEAD = "from tunesmith import *\nTUNESMITH_API = (1, 0)\n"
SHRINK = HEAD + '@hookimpl\ndef tunesmith_tuners():\n    return [TunerSpec("shrink", "heavy_torch_thing:Shrink", "Shrinks.")]\n'

MakePlugin = Callable[[str, str], EntryPoint]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlugin:
    """Writes a real module to disk and returns an entry point to it."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, source: str) -> EntryPoint:
        module = f"found_plugin_{name}"
        (tmp_path / f"{module}.py").write_text(source)
        sys.modules.pop(module, None)
        return EntryPoint(name, module, "tunesmith")

    return make


def names(plugins: Plugins) -> list[str]:
    return [f"{offer.spec.name}@{offer.owner.plugin}" for offer in plugins.tuners]


def test_the_hosts_own_commands_come_through_the_same_hooks() -> None:
    plugins = Plugins(found=[])
    assert {"train", "plan", "plugins"} <= set(plugins.commands.names)
    assert {offer.owner.distribution for offer in plugins.commands} == {"tunesmith-core"}


def test_a_spec_is_listed_without_importing_what_it_loads(plugin: MakePlugin) -> None:
    plugins = Plugins(found=[plugin("a", SHRINK)])
    assert names(plugins) == ["shrink@a"]
    assert "heavy_torch_thing" not in sys.modules


def test_what_cannot_be_loaded_names_plugin_distribution_and_remedy(plugin: MakePlugin) -> None:
    with pytest.raises(
        TunesmithError, match=r"'shrink' of plugin a .* cannot be loaded: No module named 'heavy_torch_thing'"
    ) as caught:
        Plugins(found=[plugin("a", SHRINK)]).tuners.get("shrink").load()
    assert "--without a" in caught.value.hint


def test_a_clash_hurts_only_who_asks_and_can_be_resolved(plugin: MakePlugin) -> None:
    plugins = Plugins(found=[plugin("b", SHRINK), plugin("a", SHRINK)])
    assert plugins.tuners.clashes == {"shrink": ("a", "b")}
    with pytest.raises(TunesmithError, match="2 plugins offer the tuner 'shrink': a, b") as caught:
        plugins.tuners.get("shrink")
    assert "shrink@a or shrink@b" in caught.value.hint
    assert plugins.tuners.get("shrink@b").owner.plugin == "b"


def test_discovery_order_does_not_matter(plugin: MakePlugin) -> None:
    a, b = plugin("a", SHRINK), plugin("b", SHRINK)
    assert names(Plugins(found=[a, b])) == names(Plugins(found=[b, a])) == ["shrink@a", "shrink@b"]


def test_a_broken_plugin_is_kept_with_its_reason_and_leaves_others_alone(plugin: MakePlugin) -> None:
    bad = plugin("bad", "import no_such_module_anywhere\n")
    plugins = Plugins(found=[bad, plugin("good", SHRINK)])
    assert names(plugins) == ["shrink@good"]
    assert isinstance(plugins.broken["bad"].error, ModuleNotFoundError)
    assert "no_such_module_anywhere" in str(plugins.broken["bad"])


def test_a_plugin_switched_off_is_not_even_imported(plugin: MakePlugin) -> None:
    bad = plugin("bad", "raise RuntimeError('imported')\n")
    plugins = Plugins(found=[bad], without=["bad"])
    assert plugins.broken == {}
    assert [owner.plugin for owner in plugins.off] == ["bad"]


def test_only_keeps_everything_else_out(plugin: MakePlugin) -> None:
    plugins = Plugins(found=[plugin("a", SHRINK), plugin("b", SHRINK)], only=["b"])
    assert names(plugins) == ["shrink@b"]
    assert "train" in plugins.commands


def test_the_environment_can_switch_off() -> None:
    assert switched_off({"TUNESMITH_WITHOUT": "a, b c"}) == ["a", "b", "c"]
    assert switched_off({}) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "does not say which plugin interface"),
        (f"TUNESMITH_API = ({API_VERSION[0] + 1}, 0)", "was written for plugin interface 2.0"),
        (f"TUNESMITH_API = ({API_VERSION[0]}, {API_VERSION[1] + 1})", "was written for plugin interface 1.1"),
    ],
)
def test_a_plugin_for_another_interface_is_refused(plugin: MakePlugin, line: str, says: str) -> None:
    assert says in str(Plugins(found=[plugin("a", line + "\n")]).broken["a"])


def test_a_misspelt_hook_is_an_error_and_no_silence(plugin: MakePlugin) -> None:
    plugins = Plugins(found=[plugin("a", SHRINK.replace("tunesmith_tuners", "tunesmith_tuner"))])
    assert "tunesmith_tuner" in str(plugins.broken["a"])
    assert names(plugins) == []


def test_a_hook_that_takes_what_is_not_offered_is_an_error(plugin: MakePlugin) -> None:
    source = HEAD + "@hookimpl\ndef tunesmith_check_plan(plan, model):\n    return []\n"
    assert "model" in str(Plugins(found=[plugin("a", source)]).broken["a"])


def test_a_hook_that_raises_breaks_its_own_plugin_only(plugin: MakePlugin) -> None:
    bad = plugin("bad", HEAD + "@hookimpl\ndef tunesmith_tuners():\n    raise KeyError('oh')\n")
    plugins = Plugins(found=[bad, plugin("good", SHRINK)])
    assert names(plugins) == ["shrink@good"]
    assert "oh" in str(plugins.broken["bad"])


def test_a_spec_of_the_wrong_kind_is_refused(plugin: MakePlugin) -> None:
    source = SHRINK.replace("tunesmith_tuners", "tunesmith_trainers")
    plugins = Plugins(found=[plugin("a", source)])
    assert len(plugins.trainers) == 0
    assert "no TrainerSpec" in str(plugins.broken["a"])


def test_a_plugin_that_offers_a_name_twice_breaks_itself_only(plugin: MakePlugin) -> None:
    twice = SHRINK.replace("return [", 'return [TunerSpec("shrink", "a:B", "Again."), ')
    plugins = Plugins(found=[plugin("bad", twice), plugin("good", SHRINK)])
    assert names(plugins) == ["shrink@good"]
    assert "offers the tuner 'shrink' twice" in str(plugins.broken["bad"])


def test_two_plugins_of_one_name_are_both_named(plugin: MakePlugin) -> None:
    plugins = Plugins(found=[plugin("a", SHRINK), EntryPoint("a", "found_plugin_other", "tunesmith")])
    (broken,) = plugins.broken.values()
    assert "already has a plugin named 'a'" in str(broken)


def test_the_local_plugin_lies_beside_the_configuration_and_can_be_switched_off(tmp_path: Path) -> None:
    (tmp_path / "tunesmith_local.py").write_text(SHRINK)
    assert names(Plugins(found=[], local=tmp_path)) == ["shrink@local"]
    assert names(Plugins(found=[], local=tmp_path, without=["local"])) == []
    assert names(Plugins(found=[])) == []


def test_an_unknown_name_suggests_the_nearest_or_the_package(plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = Plugins(found=[plugin("a", SHRINK)])
    plugins.__dict__["catalogue"] = types.SimpleNamespace(names=lambda axis: {"widen": "tunesmith-widen"})
    with pytest.raises(TunesmithError) as caught:
        plugins.tuners.get("shrimk")
    assert caught.value.hint == "Did you mean 'shrink'?"
    with pytest.raises(TunesmithError) as caught:
        plugins.tuners.get("widen")
    assert "pip install tunesmith-widen" in caught.value.hint


def test_without_any_plugin_the_core_says_what_to_install() -> None:
    plugins = Plugins(found=[])
    plugins.__dict__["catalogue"] = types.SimpleNamespace(names=lambda axis: {"widen": "tunesmith-widen"})
    with pytest.raises(TunesmithError) as caught:
        plugins.tuners.get("anything")
    assert "pip install tunesmith-widen" in caught.value.hint


def test_hooks_are_told_and_asked(plugin: MakePlugin) -> None:
    source = HEAD + (
        "seen = []\n"
        "@hookimpl\ndef tunesmith_check_plan(plan):\n    return [Problem('here', f'no {plan.command}')]\n"
        "@hookimpl\ndef tunesmith_run_started(session):\n    seen.append(session)\n"
    )
    plugins = Plugins(found=[plugin("a", source)])
    assert [problem.what for problem in plugins.check_plan(hand_plan())] == ["no train"]
    plugins.run_started("session")
    assert sys.modules["found_plugin_a"].seen == ["session"]
