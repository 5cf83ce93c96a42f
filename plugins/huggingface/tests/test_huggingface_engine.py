"""The engine ``huggingface``: the suite of engines, and what is its own."""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from tunesmith import EngineSpec, TunesmithError, api
from tunesmith.contracts import Engine, Request, Sampling
from tunesmith.plugins import Plugins
from tunesmith.runtime.hidden_tokens import hidden_tokens
from tunesmith.runtime.tiny import make_tiny
from tunesmith.templates import renderer_for
from tunesmith.testing.engine_suite import ASKED, GREEDY, RANDOM, EngineSuite, collect, ids_of, plain_generate
from tunesmith_huggingface.engine import HuggingfaceEngine
from tunesmith_huggingface.picking import Picker
from tunesmith_huggingface.plugin import tunesmith_engines
from tunesmith_huggingface.schemas import Schemas

SPEC = tunesmith_engines()[0]


class TestHuggingfaceEngine(EngineSuite):
    spec: ClassVar[EngineSpec] = SPEC
    schemas = True

    def test_a_beam_search_is_that_of_plain_generate(self, engine: Engine, folder: Path) -> None:
        ids = engine.encode(ASKED[0])
        request = Request("a", ids, Sampling(max_new_tokens=8, do_sample=False, num_beams=3, length_penalty=0.5))
        model = AutoModelForCausalLM.from_pretrained(folder)
        expected = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False, num_beams=3, length_penalty=0.5)
        deltas = collect(engine.generate([request]))["a"]
        assert ids_of(deltas) == tuple(expected[0, len(ids) :].tolist())

    @pytest.mark.parametrize("wanted", [{"presence_penalty": 1.0}, {"logit_bias": ((3, 1.0),)}, {"logprobs": 0}])
    def test_what_a_beam_search_cannot_do_is_refused(self, engine: Engine, wanted: dict[str, Any]) -> None:
        sampling = Sampling(do_sample=False, num_beams=2, **wanted)
        with pytest.raises(TunesmithError, match=f"{next(iter(wanted))} does not go together with num_beams"):
            engine.generate([Request("a", engine.encode(ASKED[0]), sampling)])

    def test_requests_of_any_sampling_run_together(self, engine: Engine, folder: Path) -> None:
        ids = engine.encode(ASKED[0])
        wanted = [GREEDY, RANDOM, replace(GREEDY, repetition_penalty=1.5, max_new_tokens=5), replace(RANDOM, top_k=3)]
        together = collect(engine.generate([Request(str(i), ids, one) for i, one in enumerate(wanted)]))
        for i, one in enumerate(wanted):
            assert ids_of(together[str(i)]) == ids_of(collect(engine.generate([Request("a", ids, one)]))["a"])
        model = AutoModelForCausalLM.from_pretrained(folder)
        plain = model.generate(torch.tensor([ids]), max_new_tokens=5, do_sample=False, repetition_penalty=1.5)
        assert ids_of(together["2"]) == tuple(plain[0, len(ids) :].tolist())

    def test_the_request_decides_and_not_the_models_own_settings(
        self, engine: Engine, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        copy = tmp_path / "model"
        shutil.copytree(folder, copy)
        own = json.loads((copy / "generation_config.json").read_text())
        own |= {"do_sample": True, "temperature": 0.6, "top_p": 0.8, "top_k": 3, "repetition_penalty": 5.0, "num_beams": 2}
        (copy / "generation_config.json").write_text(json.dumps(own))
        request = Request("a", engine.encode(ASKED[0]), GREEDY)
        headstrong = self.start(copy)
        capfd.readouterr()
        told = ids_of(collect(headstrong.generate([request]))["a"])
        headstrong.stop()
        assert told == ids_of(collect(engine.generate([request]))["a"])
        assert "not valid" not in capfd.readouterr().err

    @pytest.mark.parametrize("keys", [{"suppress_tokens": None}, {"min_new_tokens": 6}])
    def test_other_settings_of_the_model_are_those_of_generate(
        self, engine: Engine, folder: Path, tmp_path: Path, keys: dict[str, Any]
    ) -> None:
        copy, ids = tmp_path / "model", engine.encode(ASKED[0])
        shutil.copytree(folder, copy)
        own = json.loads((copy / "generation_config.json").read_text()) | keys
        if "suppress_tokens" in keys:
            own["suppress_tokens"] = list(ids_of(collect(engine.generate([Request("a", ids, GREEDY)]))["a"]))
        (copy / "generation_config.json").write_text(json.dumps(own))
        request = Request("a", ids, GREEDY)
        headstrong = self.start(copy)
        told = ids_of(collect(headstrong.generate([request]))["a"])
        headstrong.stop()
        assert told == plain_generate(copy, request)

    def test_without_a_cache_it_answers_the_same(self, engine: Engine, folder: Path) -> None:
        plan = api.plan({"model_name_or_path": str(folder), "use_kv_cache": False}, command="chat")
        forgetful = HuggingfaceEngine(plan)
        forgetful.start(plan)
        requests = [Request(str(i), engine.encode(talk), GREEDY) for i, talk in enumerate(ASKED)]
        both = [{name: ids_of(said) for name, said in collect(one.generate(requests)).items()} for one in (engine, forgetful)]
        forgetful.stop()
        assert both[0] == both[1]

    def test_a_beam_search_lets_others_have_their_turn(self, engine: Engine) -> None:
        ids = engine.encode(ASKED[0])
        searching = engine.generate([Request("a", ids, Sampling(max_new_tokens=400, do_sample=False, num_beams=3))])
        ended: list[str] = []
        with ThreadPoolExecutor(1) as threads:
            found = threads.submit(lambda: (list(searching), ended.append("search")))
            collect(engine.generate([Request("b", ids, replace(GREEDY, max_new_tokens=5))]))
            ended.append("other")
            found.result()
        assert ended == ["other", "search"]

    def test_a_prompt_longer_than_the_model_sees_is_refused(self, engine: Engine) -> None:
        with pytest.raises(TunesmithError, match="5000 tokens; the model can see 4096"):
            engine.generate([Request("a", (7,) * 5000, GREEDY)])

    def test_requests_can_be_read_in_turns(self, engine: Engine) -> None:
        first, second = (engine.generate([Request(name, engine.encode(ASKED[0]), GREEDY)]) for name in "ab")
        pairs = list(zip(first, second, strict=True))
        assert [one.ids for one, _ in pairs] == [other.ids for _, other in pairs]

    def test_stopping_the_engine_cancels_what_runs(self, folder: Path) -> None:
        engine = self.start(folder)
        answers = engine.generate([Request("a", engine.encode(ASKED[0]), Sampling(max_new_tokens=3000, do_sample=False))])
        next(answers)
        engine.stop()
        last = list(answers)[-1]
        assert last.finish == "cancelled"

    def test_it_takes_no_weights_from_a_trainer(self, engine: Engine) -> None:
        with pytest.raises(TunesmithError, match="cannot take over weights"):
            engine.sync([])


class TestOnAnotherTokenizer(EngineSuite):
    spec: ClassVar[EngineSpec] = SPEC
    schemas = True
    family = "gemma3"


@pytest.mark.parametrize(
    "keys",
    [
        {"temperature": 0.7, "top_k": 0, "top_p": 1.0},
        {"temperature": 1.0, "top_k": 5, "top_p": 1.0},
        {"temperature": 1.5, "top_k": 0, "top_p": 0.6},
        {"temperature": 0.95, "top_k": 50, "top_p": 0.7},
        {"temperature": 1.2, "top_k": 30, "top_p": 1.0, "min_p": 0.1},
    ],
)
def test_sampling_draws_from_the_distribution_of_transformers(keys: dict[str, Any]) -> None:
    """Scores are changed as ``generate`` changes them, and drawn from."""
    scores = torch.randn(1, 80, generator=torch.Generator().manual_seed(0)) * 3
    expected = _transformers_processors(keys)(torch.zeros((1, 1), dtype=torch.long), scores.clone()).softmax(-1)[0]
    picker, draws = Picker(Request("a", (1,), Sampling(seed=0, **keys))), 4000
    found = torch.bincount(torch.tensor([picker.pick(scores[0]) for _ in range(draws)]), minlength=80) / draws
    assert (found - expected).abs().max() < 0.03
    assert not found[expected == 0].any()


def _transformers_processors(keys: dict[str, Any]) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=80, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    config = GenerationConfig(do_sample=True, num_beams=1, **keys)
    prepared, _ = model._prepare_generation_config(config)
    return model._get_logits_processor(prepared, input_ids_seq_length=1)


@pytest.mark.parametrize(
    ("family", "template", "shown"),
    [("mistral", "mistral", "[TOOL_CALLS]"), ("qwen3", "qwen3", None), ("llama", "llama3", None)],
)
def test_marks_of_tool_calls_are_text_and_other_special_tokens_are_not(
    family: str, template: str, shown: str | None, tmp_path: Path
) -> None:
    offered = Plugins().templates
    if template not in offered:
        pytest.skip(f"the template {template} is not installed")
    tokenizer = AutoTokenizer.from_pretrained(make_tiny(family, tmp_path / "model"))
    hidden = {
        tokenizer.convert_ids_to_tokens(id_) for id_ in hidden_tokens(renderer_for(offered.get(template).spec), tokenizer)
    }
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    assert special - hidden == ({shown} if shown else set())


@pytest.mark.parametrize(("schema", "what"), [("{", "no JSON"), ('{"type": "nonsense"}', "cannot be followed")])
def test_a_schema_that_is_none_is_refused(folder_of_llama: Path, schema: str, what: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder_of_llama)
    with pytest.raises(TunesmithError, match=f"schema.*{what}"):
        Schemas(tokenizer, 2048, [0]).guide(schema)


def test_a_schema_without_its_library_says_what_to_install(folder_of_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(TunesmithError, match="schema needs the package llguidance") as raised:
        Schemas(AutoTokenizer.from_pretrained(folder_of_llama), 2048, [0]).guide("{}")
    assert "tunesmith-huggingface[schema]" in raised.value.hint


@pytest.fixture(scope="module")
def folder_of_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("schema") / "model", layers=1)
