"""Models from hubs and stores: found, fetched, kept at one version; and what a plan makes of the switches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tunesmith import launch, planning, settings
from tunesmith.data.dataset_info import Asked, describe
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import fetch_model, find_model
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.testing import PluginSuite

A, B = "a" * 40, "b" * 40
FILES = {
    "config.json": json.dumps({"model_type": "llama"}),
    "model.safetensors": b"\x02\0\0\0\0\0\0\0{}",
    "tf_model.h5": b"other",
}


class TestPlugin(PluginSuite):
    plugin = "hubs"
    folder = Path(__file__).parents[1]


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    (tmp_path / "tunesmith_local.py").write_text(
        "from tunesmith import CommandSpec, hookimpl\nTUNESMITH_API = (1, 0)\n\n\n@hookimpl\ndef tunesmith_commands():\n"
        "    return [CommandSpec('use', 'x:y', 'Use it.', picks=('engines',), requires=('model_name_or_path',))]\n"
    )
    return Plugins(only=["hubs", "huggingface", "alpaca", "local"], local=tmp_path)


def planned(plugins: Plugins, **values: object) -> Plan:
    return planning.make(settings.gather(plugins, values), plugins, "use")


# ---- Hugging Face, which the host fetches from itself ----------------------------------------------------------------


def test_the_host_fetches_a_model_and_knows_its_commit(world: Any, offline: Callable[[], None]) -> None:
    world.add("models/acme/tiny", FILES, A)
    assert fetch_model("acme/tiny").commit == A
    world.add("models/acme/tiny", {**FILES, "extra.json": "{}"}, B)
    assert find_model("acme/tiny").commit == A  # what is here is used until somebody asks for another
    assert fetch_model("acme/tiny", revision=B).commit == B
    offline()
    assert find_model("acme/tiny", revision=B).folder is not None
    with pytest.raises(TunesmithError, match="acme/tiny at v2 is no folder and not in the hub's cache"):
        fetch_model("acme/tiny", revision="v2")


def test_a_download_that_was_interrupted_is_no_model_yet(world: Any) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    weights = {"model-1.safetensors": FILES["model.safetensors"], "model-2.safetensors": FILES["model.safetensors"]}
    world.add("models/acme/big", {"config.json": FILES["config.json"], "model.safetensors.index.json": index, **weights}, A)
    folder = fetch_model("acme/big").found()
    (folder / "model-2.safetensors").unlink()
    place = find_model("acme/big")
    assert place.fetchable
    assert "only in part" in place.reason
    assert (fetch_model("acme/big").found() / "model-2.safetensors").is_file()


@pytest.mark.parametrize(
    ("repo", "revision", "what"),
    [
        ({"token": "s"}, "main", "has no acme/tiny, or it is private"),
        ({"token": "s", "gated": True}, "main", "acme/tiny is gated"),
        ({}, "v9", "acme/tiny has no revision 'v9'"),
    ],
)
def test_refusals_of_models_are_told_in_plain_words(world: Any, repo: dict[str, Any], revision: str, what: str) -> None:
    world.add("models/acme/tiny", FILES, A, **repo)
    with pytest.raises(TunesmithError, match=what):
        fetch_model("acme/tiny", revision=revision)


# ---- others ----------------------------------------------------------------------------------------------------------


def test_modelscope_models_by_the_switch(world: Any, plugins: Plugins, offline: Callable[[], None]) -> None:
    world.add("models/acme/tiny", FILES, A)
    plan = planned(plugins, model_name_or_path="acme/tiny", use_modelscope_hub=True)
    assert [chosen.name for chosen in plan.picked("sources")] == ["modelscope"]
    assert world.asked == []  # planning asks nobody
    fetched = launch.fetch(plan, plugins)
    place = fetched.places["acme/tiny"]
    assert place.source == "modelscope"
    assert sorted(file.name for file in Path(place.folder).iterdir() if file.is_file()) == ["config.json", "model.safetensors"]
    offline()
    again = planned(plugins, model_name_or_path="acme/tiny", use_modelscope_hub=True)
    assert again.places["acme/tiny"] == place
    lost = planned(plugins, model_name_or_path="acme/other", use_modelscope_hub=True)
    assert any("acme/other is not in the cache, and hubs are switched off" in str(problem) for problem in lost.missing)


def test_models_of_a_bucket_by_their_scheme(world: Any, plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs", reason="the package that fsspec reaches s3:// with is not installed")
    import fsspec.config

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(fsspec.config, "conf", {"s3": {"anon": True, "endpoint_url": world.url}})
    for name, data in FILES.items():
        world.buckets[f"models/tiny/{name}"] = data.encode() if isinstance(data, str) else data
    plan = launch.fetch(planned(plugins, model_name_or_path="s3://bucket/models/tiny"), plugins)
    folder = Path(plan.places["s3://bucket/models/tiny"].folder)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert planned(plugins, model_name_or_path="s3://bucket/models/tiny").places == plan.places


def test_two_switches_are_one_too_many(plugins: Plugins) -> None:
    from tunesmith.errors import ConfigError

    with pytest.raises(ConfigError, match="each say where models come from"):
        planned(plugins, model_name_or_path="acme/tiny", use_modelscope_hub=True, use_openmind_hub=True)


# ---- entries ---------------------------------------------------------------------------------------------------------

BOTH = {"hf_hub_url": "a/b", "ms_hub_url": "c/d", "om_hub_url": "e/f"}


@pytest.mark.parametrize(
    ("entry", "preferred", "chosen"),
    [
        (BOTH, (), "huggingface"),
        (BOTH, ("modelscope",), "modelscope"),
        (BOTH, ("modelers",), "modelers"),
        ({"hf_hub_url": "a/b"}, ("modelscope",), "huggingface"),
        ({"ms_hub_url": "c/d"}, (), "modelscope"),
        ({"cloud_file_name": "s3://x/y"}, (), "cloud"),
    ],
)
def test_which_place_is_taken_of_several(plugins: Plugins, entry: Any, preferred: tuple[str, ...], chosen: str) -> None:
    found = describe(["x"], "train", dataset_dir={"x": entry}, wants=(), plugins=plugins, asked=Asked("", preferred))
    assert [dataset.source for dataset in found.datasets] == [chosen]


def test_a_loading_script_is_refused_with_the_reason(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rows.jsonl").touch()
    (tmp_path / "dataset_info.json").write_text(json.dumps({"x": {"script_url": "mine"}}))
    found = describe(["x"], "train", dataset_dir=str(tmp_path), wants=(), plugins=plugins)
    assert "code that comes with data is not run" in found.missing[0].what
    assert ".jsonl files" in found.missing[0].instead
