"""Models that a plugin's source holds: picked by switch or scheme, found while planning, fetched before a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tunesmith import launch, planning, settings
from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.model_stores import place_in
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins

PLUGIN = '''
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tunesmith import CommandSpec, SourceSpec, hookimpl
from tunesmith.contracts import ModelStore, Whereabouts
from tunesmith.errors import TunesmithError
from tunesmith.specs import Switch

TUNESMITH_API = (1, 0)
HERE = Path(__file__).parent
SHELF, GOODS = HERE / "shelf", HERE / "goods"


@dataclass(frozen=True)
class DepotOptions:
    """The depot."""

    use_depot: Annotated[bool, "Fetch models from the depot."] = False


class Depot(ModelStore):
    def __init__(self, value):
        self.revision = value("model_revision")

    def find(self, name):
        folder = SHELF / name.rpartition("/")[2]
        return Whereabouts(name, folder if folder.is_dir() else None, True, "not yet here", commit="c" * 40)

    def fetch(self, name, commit=""):
        if not GOODS.is_dir():
            raise TunesmithError(f"The depot is closed: {name}.", "Come back.")
        shutil.copytree(GOODS, SHELF / name.rpartition("/")[2])
        return Whereabouts(name, SHELF / name.rpartition("/")[2], commit=f"{self.revision}!")


@hookimpl
def tunesmith_sources():
    return [SourceSpec("depot", "x:y", "A depot.", options=DepotOptions, key="depot", switch=Switch("use_depot"),
                       schemes=("depot",), models=f"{__name__}:Depot")]


@hookimpl
def tunesmith_commands():
    return [CommandSpec("use", "x:y", "Use a model.", picks=("backends",), requires=("model_name_or_path",))]
'''


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    (tmp_path / "tunesmith_local.py").write_text(PLUGIN)
    goods = tmp_path / "goods"
    goods.mkdir()
    (goods / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (goods / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return Plugins(only=["local"], local=tmp_path)


def planned(plugins: Plugins, **values: object) -> Plan:
    return planning.make(settings.gather(plugins, values), plugins, "use")


@pytest.mark.parametrize("values", [{"model_name_or_path": "a/b", "use_depot": True}, {"model_name_or_path": "depot://a/b"}])
def test_a_switch_or_a_scheme_sends_for_the_model(plugins: Plugins, tmp_path: Path, values: dict[str, object]) -> None:
    plan = planned(plugins, **values, model_revision="v1")
    name = str(values["model_name_or_path"])
    assert any("will be fetched when the run starts" in notice for notice in plan.notices)
    assert [chosen.name for chosen in plan.picked("sources")] == ["depot"]
    with pytest.raises(TunesmithError):
        place_in(plan, name).found()
    fetched = launch.fetch(plan, plugins)
    assert fetched.places[name].commit == "v1!"
    assert fetched.places[name].source == "depot"
    assert place_in(Plan.from_json(fetched.to_json()), name).folder == tmp_path / "shelf" / "b"
    assert launch.fetch(fetched, plugins) == fetched
    again = planned(plugins, **values)
    assert again.places[name].commit == "c" * 40


def test_a_model_that_cannot_be_had_ends_the_run_in_the_stores_words(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "goods").rename(tmp_path / "sold")
    with pytest.raises(TunesmithError, match="The depot is closed: a/b"):
        launch.fetch(planned(plugins, model_name_or_path="a/b", use_depot=True), plugins)


def test_a_scheme_that_nobody_offers_is_named(plugins: Plugins) -> None:
    plan = planned(plugins, model_name_or_path="s3://bucket/model")
    assert any("from s3://" in str(problem) for problem in plan.missing)
    with pytest.raises(ConfigError):
        plan.check_ready()
