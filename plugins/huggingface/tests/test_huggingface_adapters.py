"""Adapters beside the model answer as they would alone, and the model as if there were none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from tunesmith import TunesmithError, api
from tunesmith.contracts import Request
from tunesmith.errors import ConfigError
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import make_tiny
from tunesmith.testing.engine_suite import ASKED, GREEDY, collect, ids_of, plain_generate
from tunesmith_huggingface.engine import HuggingfaceEngine

peft = pytest.importorskip("peft")
if not {"lora", "ia3"} <= {offer.spec.name for offer in Plugins().tuners}:
    pytest.skip("the tuners that can load these adapters are not installed", allow_module_level=True)

KINDS = {
    "one": peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"),
    "two": peft.IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        init_ia3_weights=False,
        task_type="CAUSAL_LM",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("adapters") / "model")


@pytest.fixture(scope="module")
def adapters(folder: Path) -> dict[str, Path]:
    made = {}
    for seed, (name, config) in enumerate(KINDS.items()):
        torch.manual_seed(seed)
        made[name] = folder.parent / name
        tuned = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
        for weight in tuned.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.5)
        tuned.save_pretrained(made[name])
    return made


def started(folder: Path, **keys: Any) -> HuggingfaceEngine:
    plan = api.plan({"model_name_or_path": str(folder), **keys}, command="chat")
    engine = HuggingfaceEngine(plan)
    engine.start(plan)
    return engine


@pytest.fixture(scope="module")
def engine(folder: Path, adapters: dict[str, Path]) -> Iterator[HuggingfaceEngine]:
    engine = started(folder, serve_adapters=",".join(f"{name}={path}" for name, path in adapters.items()))
    yield engine
    engine.stop()


def tuned_generate(folder: Path, adapter: Path, request: Request) -> tuple[int, ...]:
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter)
    ids = torch.tensor([request.ids])
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    return tuple(out[0, ids.shape[1] :].tolist())


def test_each_adapter_answers_as_alone_and_the_model_as_without(
    engine: HuggingfaceEngine, folder: Path, adapters: dict[str, Path]
) -> None:
    assert engine.adapters() == ("one", "two")
    asked = [
        Request(f"{name}{i}", engine.encode(talk), GREEDY, name) for i, talk in enumerate(ASKED) for name in (None, *KINDS)
    ]
    told = {name: ids_of(deltas) for name, deltas in collect(engine.generate(asked)).items()}
    for request in asked:
        expected = (
            plain_generate(folder, request)
            if request.adapter is None
            else tuned_generate(folder, adapters[request.adapter], request)
        )
        assert told[request.id] == expected
    assert len({told[f"{name}0"] for name in (None, *KINDS)}) == 3


def test_weights_are_in_memory_once(engine: HuggingfaceEngine) -> None:
    places = [
        {name.rpartition("base_model.model.")[2].replace(".base_layer", ""): weight.data_ptr() for name, weight in held}
        for held in (server.model.named_parameters() for server in engine.loaded.servers.values())
    ]
    assert all(other[name] == place for other in places[1:] for name, place in places[0].items())


def test_an_unknown_adapter_is_told_which_there_are(engine: HuggingfaceEngine) -> None:
    with pytest.raises(TunesmithError, match="no adapter 'three'") as raised:
        engine.generate([Request("a", (1, 2), GREEDY, "three")])
    assert "one, two" in raised.value.hint


def test_a_plans_own_adapter_lies_on_the_model_and_not_under_the_others(folder: Path, adapters: dict[str, Path]) -> None:
    engine = started(folder, adapter_name_or_path=str(adapters["one"]), serve_adapters=f"two={adapters['two']}")
    ids = engine.encode(ASKED[0])
    asked = [Request("own", ids, GREEDY), Request("two", ids, GREEDY, "two")]
    told = {name: ids_of(deltas) for name, deltas in collect(engine.generate(asked)).items()}
    engine.stop()
    assert told == {
        "own": tuned_generate(folder, adapters["one"], asked[0]),
        "two": tuned_generate(folder, adapters["two"], asked[1]),
    }


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"serve_adapters": "{one}"}, "not of the form name=path"),
        ({"serve_adapters": "a={one},a={two}"}, "two adapters 'a'"),
        ({"serve_adapters": "a={model}"}, "bears no mark"),
        ({"serve_adapters": "a={two}", "adapter_name_or_path": "{one},{two}"}, "merges"),
    ],
)
def test_what_cannot_be_served_is_found_while_planning(
    folder: Path, adapters: dict[str, Path], keys: dict[str, str], what: str
) -> None:
    places = {"model": folder, **adapters}
    with pytest.raises(ConfigError, match=what):
        api.plan({"model_name_or_path": str(folder), **{k: v.format(**places) for k, v in keys.items()}}, command="chat")


def test_an_adapter_that_is_not_here_is_missing(folder: Path) -> None:
    plan = api.plan({"model_name_or_path": str(folder), "serve_adapters": "a=./nowhere"}, command="chat")
    with pytest.raises(ConfigError, match="serve_adapters"):
        plan.check_ready()


def test_an_adapter_with_tokens_of_its_own_is_served_alone(folder: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    from tunesmith.model_folder import BASE_CHANGES

    copy = tmp_path / "adapter"
    copy.mkdir()
    for file in adapters["one"].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / BASE_CHANGES).write_text("{}")
    with pytest.raises(TunesmithError, match="The adapter a brings tokens of its own"):
        started(folder, serve_adapters=f"a={copy}")


def test_sampling_is_per_request_with_adapters_too(engine: HuggingfaceEngine) -> None:
    ids = engine.encode(ASKED[0])
    drawn = replace(GREEDY, do_sample=True, seed=3, logprobs=1)
    asked = [Request(str(name), ids, drawn, name) for name in engine.adapters()]
    together = collect(engine.generate(asked))
    for request in asked:
        assert ids_of(collect(engine.generate([request]))[request.id]) == ids_of(together[request.id])
