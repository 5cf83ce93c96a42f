"""The engine against a server that stands in for SGLang, with a real tiny model behind it.

What all servers have in common is tested with the engines of vLLM; here is what SGLang's requests and events are like.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith import TunesmithError, api
from tunesmith.errors import ConfigError
from tunesmith.generation import Request, Sampling
from tunesmith.runtime.event_stream import Refused
from tunesmith.runtime.tiny import make_tiny
from tunesmith.spec import options_of
from tunesmith.testing.engine_suite import ASKED, GREEDY, collect, ids_of, plain_generate, text_of
from tunesmith.testing.spec_check import option_faults, spec_faults
from tunesmith.testing.stand_in_stack import stand_in
from tunesmith_sglang.engine import SglangEngine, key_file
from tunesmith_sglang.plugin import ENGINE, STACK

RANDOM = Sampling(max_new_tokens=24, temperature=1.0, top_p=1.0, top_k=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("engine") / "model")


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = LoraConfig(r=8, lora_alpha=64, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    model.peft_config["default"].base_model_name_or_path = str(folder)
    model.save_pretrained(folder.parent / "mine")
    return folder.parent / "mine"


def plan_of(folder: Path, **given: Any) -> Any:
    made = api.plan({"model_name_or_path": str(folder), "infer_backend": "sglang", **given}, command="chat")
    made.check_ready()
    return made


@pytest.fixture(scope="module", autouse=True)
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The stack, stood in for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_STACKS", str(tmp_path_factory.mktemp("stacks")))
        stand_in(STACK, Path(__file__).parent / "stand_in")
        yield


@pytest.fixture(scope="module")
def engine(folder: Path, adapter: Path) -> Iterator[SglangEngine]:
    """One that draws by seeds, since its server is told to, with an adapter on the model."""
    plan = plan_of(folder, adapter_name_or_path=str(adapter), sglang_config={"enable_deterministic_inference": True})
    engine = SglangEngine(plan)
    engine.start(plan)
    yield engine
    engine.stop()


def test_its_spec_is_well_formed() -> None:
    assert not [*spec_faults(ENGINE), *option_faults(options_of(ENGINE))]


def test_greedy_answers_are_those_of_the_model_with_its_adapter(engine: SglangEngine, folder: Path, adapter: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    requests = [Request(str(n), engine.encode(talk), GREEDY) for n, talk in enumerate(ASKED)]
    answers = collect(engine.generate(requests))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter)
    for request in requests:
        row = torch.tensor([request.ids])
        expected = model.generate(input_ids=row, attention_mask=torch.ones_like(row), max_new_tokens=12, do_sample=False)
        assert ids_of(answers[request.id]) == tuple(expected[0, len(request.ids) :].tolist())
        assert ids_of(answers[request.id]) != plain_generate(folder, request)
    named = collect(engine.generate([replace(requests[0], adapter="mine")]))["0"]
    assert ids_of(named) == ids_of(answers["0"])


def test_a_stop_string_ends_the_answer_and_is_not_shown(engine: SglangEngine) -> None:
    ids = engine.encode(ASKED[0])
    whole = text_of(collect(engine.generate([Request("a", ids, GREEDY)]))["a"])
    stop = whole[len(whole) // 2 :][:2]
    deltas = collect(engine.generate([Request("a", ids, replace(GREEDY, stop=(stop,)))]))["a"]
    assert (text_of(deltas), deltas[-1].finish) == (whole[: whole.index(stop)], "stop")


def test_logprobs_come_with_their_tokens(engine: SglangEngine) -> None:
    ids = engine.encode(ASKED[0])
    for many in (0, 3):
        deltas = collect(engine.generate([Request("a", ids, replace(GREEDY, logprobs=many))]))["a"]
        told = [entry for delta in deltas for entry in delta.logprobs]
        assert [entry.id for entry in told] == list(ids_of(deltas))
        assert {len(entry.top) for entry in told} == {many}
        assert all(not entry.top or entry.top[0] == (entry.id, entry.logprob) for entry in told), "greedy takes the likeliest"


def test_a_seed_decides_where_the_server_draws_by_seeds(engine: SglangEngine) -> None:
    ids = engine.encode(ASKED[0])
    one, same, other = (
        ids_of(collect(engine.generate([Request("a", ids, replace(RANDOM, seed=seed))]))["a"]) for seed in (5, 5, 6)
    )
    assert one == same != other


def test_a_seed_is_an_error_where_it_does_not(folder: Path) -> None:
    engine = SglangEngine(plan_of(folder))
    with pytest.raises(TunesmithError, match="seed 5") as caught:
        engine.post(Request("a", (1, 2), replace(RANDOM, seed=5)), 5, [0])
    assert "enable_deterministic_inference" in caught.value.hint
    assert "sampling_seed" not in engine.post(Request("a", (1, 2), replace(GREEDY, seed=5)), 5, [0]).body["sampling_params"]


def test_all_tokens_is_what_sglang_calls_minus_one(engine: SglangEngine) -> None:
    assert engine.post(Request("a", (1,), RANDOM), 5, [0]).body["sampling_params"]["top_k"] == -1


def test_penalties_and_biases_reach_the_server(engine: SglangEngine) -> None:
    ids = engine.encode(ASKED[0])
    first = ids_of(collect(engine.generate([Request("a", ids, GREEDY)]))["a"])
    banned = replace(GREEDY, logit_bias=((first[0], -100.0),), frequency_penalty=1.0)
    assert ids_of(collect(engine.generate([Request("a", ids, banned)]))["a"])[0] != first[0]
    with pytest.raises(TunesmithError, match="repetition_penalty"):
        engine.generate([Request("a", ids, replace(GREEDY, repetition_penalty=2.5))])


def test_what_the_server_refuses_or_gives_up_is_said_in_its_words(engine: SglangEngine) -> None:
    with pytest.raises(TunesmithError, match=r"refused request 'a': the stand-in has no grammar for a schema: \{\"type"):
        collect(engine.generate([Request("a", engine.encode(ASKED[0]), replace(GREEDY, schema='{"type": "object"}'))]))
    with pytest.raises(Refused, match="out of memory"):
        engine.read({"meta_info": {"finish_reason": {"type": "abort", "message": "out of memory"}}})


def test_the_key_goes_by_a_file_that_only_the_user_can_read_and_that_is_gone(engine: SglangEngine) -> None:
    file = key_file("abc")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.unlink()
    assert engine._key_file is not None
    assert not engine._key_file.exists()
    assert engine._process is not None
    assert engine.key not in " ".join(engine._process.command.arguments)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"sglang_config": {"tp_size": 2}}, "Write sglang_tp_size"),
        ({"sglang_tp_size": 0}, "sglang_tp_size is 0"),
        ({"sglang_lora_backend": "flashinfer"}, "sglang_lora_backend: triton"),
        ({"quantization_bit": 4}, "knows no quantization_bit"),
    ],
)
def test_what_the_server_cannot_do_is_said_while_planning(folder: Path, given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        plan_of(folder, **given)


def test_stopping_it_cancels_what_runs(engine: SglangEngine) -> None:
    answers = engine.generate([Request("a", engine.encode(ASKED[0]), replace(GREEDY, max_new_tokens=3000))])
    next(answers)
    engine.stop()
    assert [delta.finish for delta in answers][-1] == "cancelled"
