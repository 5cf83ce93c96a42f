"""Answers that call tools: what is put where, what is learned, what rewards see; and a model that really calls one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tunesmith import launch
from tunesmith.data.conversation import Call, Result
from tunesmith.data.flow import prepare
from tunesmith.errors import ConfigError
from tunesmith.plugins import LOCAL_FILE, Plugins
from tunesmith.runtime.session import open_session
from tunesmith.runtime.tiny import make_tiny
from tunesmith.testing import ToolSuite
from tunesmith.testing.small_prompts import Make, history, logged, plan_maker
from tunesmith_grpo.plugin import CALCULATOR
from tunesmith_grpo.stages import GrpoStage

LOCAL = """
from tunesmith import RewardSpec, ToolSpec, hookimpl
from tunesmith.contracts import Reward, Tool
from tunesmith.data.conversation import Result

TUNESMITH_API = (1, 0)
SEEN = []


class Told(Reward):
    def __init__(self, plan):
        pass

    def score(self, prompts, completions, extras):
        SEEN[:] = list(zip(prompts, completions, extras))
        said = [[part.content for turn in one.turns for part in turn.parts if isinstance(part, Result)] for one in prompts]
        return [float(words == [str(row["sum"])]) for words, row in zip(said, extras)]


class Counter(Tool):
    def __init__(self, plan):
        self.calls = 0

    def call(self, arguments, row):
        self.calls += 1
        return f"{row['sum']}:{self.calls}"


@hookimpl
def tunesmith_rewards():
    return [RewardSpec("told", f"{__name__}:Told", "Whether a tool has said the right sum.")]


@hookimpl
def tunesmith_tools():
    return [ToolSpec("counter", f"{__name__}:Counter", "Counts its calls.")]
"""
PAIRS = [(one, other) for one in (1, 2) for other in (3, 4)]


class TestCalculator(ToolSuite):
    """Arithmetic, and what is none."""

    spec = CALCULATOR
    cases = (
        ({"expression": "2 + 2 * (3 - 1)"}, {}, "6"),
        ({"expression": "-7 // 2"}, {}, "-4"),
        ({"expression": "1 / 3"}, {}, "0.333333333333"),
        ({"expression": " 2 ** 10 "}, {}, "1024"),
    )
    mistakes = (
        {},
        {"expression": "1 / 0"},
        {"expression": "two"},
        {"expression": "__import__('os')"},
        {"expression": "9 ** 999"},
        {"expression": "True + 1"},
        {"expression": "(" * 150},
        {"expression": "1 +"},
        {"expression": "(-8) ** 0.5"},
        {"expression": "1" * 201},
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, sums as prompts, and the same sums answered by calls."""
    folder = tmp_path_factory.mktemp("home")
    make_tiny("qwen3", folder / "model")
    (folder / LOCAL_FILE).write_text(LOCAL)
    prompts = [{"instruction": f"{one} plus {other}?", "sum": one + other} for one, other in PAIRS]
    (folder / "prompts.json").write_text(json.dumps(prompts))
    (folder / "calls.jsonl").write_text("\n".join(map(json.dumps, map(called, PAIRS))))
    info = {"prompts": {"file_name": "prompts.json"}, "calls": {"file_name": "calls.jsonl", "formatting": "openai"}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def called(pair: tuple[int, int]) -> dict[str, Any]:
    one, other = pair
    arguments = json.dumps({"expression": f"{one}+{other}"})
    call = {"type": "function", "function": {"name": "calculator", "arguments": arguments}}
    messages = [
        {"role": "user", "content": f"{one} plus {other}?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": str(one + other)},
        {"role": "assistant", "content": f"It is {one + other}."},
    ]
    return {"messages": messages, "tools": [CALCULATOR.declaration]}


@pytest.fixture(scope="module")
def plugins(home: Path) -> Plugins:
    return Plugins(local=home)


@pytest.fixture(scope="module")
def make(plugins: Plugins, home: Path) -> Make:
    keys = {"stage": "grpo", "per_device_train_batch_size": 4, "num_generations": 2, "reward_funcs": "told"}
    return plan_maker(home, plugins, **keys, tools="calculator", max_new_tokens=160, max_steps=1)


Script = Callable[[Any, int], str]
CALL = '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call><|im_end|>'


def sums(trainer: Any, at: int) -> str:
    """A call of the calculator, which is wrong in every fourth answer."""
    return CALL % ("calculator", '{"expression": "%s"}' % ("1/0" if at % 4 == 3 else "2+3"))


def scripted(make: Make, plugins: Plugins, folder: Path, rounds: list[Script], **keys: Any) -> tuple[Any, Any]:
    """A trainer that says what ``rounds`` hold, the last of them for ever, and one batch of what it made of that."""
    plan = make(output_dir=str(folder), **keys)
    session = open_session(plan, plugins, prepare(plan, plugins))
    trainer = GrpoStage(plan).trainer(session)
    encode = session.tokenizer.encode
    asked: list[list[list[int]]] = []

    def say(prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
        script = rounds[min(len(asked), len(rounds) - 1)]
        asked.append(prompt_ids)
        return [encode(script(trainer, at), add_special_tokens=False) for at in range(len(prompt_ids))], None

    trainer._generate_single_turn = say
    rows = [dict(trainer.train_dataset[at // 2]) for at in range(4)]
    return trainer, trainer._generate_and_score_completions(rows) | {"asked": asked}


def test_what_a_tool_says_is_read_and_not_learned(make: Make, plugins: Plugins, home: Path) -> None:
    trainer, batch = scripted(make, plugins, home / "a", [sums, lambda *_: "Done.<|im_end|>"])
    tokenizer = trainer.processing_class
    learned, seen = [], []
    for ids, mask, said in zip(batch["completion_ids"], batch["completion_mask"], batch["tool_mask"], strict=True):
        here = mask.bool()
        learned.append(tokenizer.decode(ids[here & said.bool()]))
        seen.append(tokenizer.decode(ids[here]))
    between = "\n<|im_start|>user\n<tool_response>\n{}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    for at, (words, whole) in enumerate(zip(learned, seen, strict=True)):
        call, answer = sums(trainer, at), "Done.<|im_end|>"
        assert words == call + answer
        told = "error: division by zero" if at == 3 else "5"
        assert whole.startswith(call + between.format(told)), whole
        assert whole.endswith(answer)
    first, second = batch["asked"]
    assert [ids[: len(start)] for ids, start in zip(second, first, strict=True)] == first  # only ever appended to
    metrics = trainer._metrics["train"]
    assert (metrics["tools/call_frequency"], metrics["tools/failure_frequency"]) == ([1.0], [0.25])
    assert "calculator" in tokenizer.decode(first[0])  # the prompt declares it


def test_rewards_see_calls_and_what_tools_said(make: Make, plugins: Plugins, home: Path) -> None:
    scripted(make, plugins, home / "b", [sums, lambda *_: "Done.<|im_end|>"])
    reward = plugins.rewards.get("told").load()
    prompts, answers, _ = zip(*__import__(reward.__module__).SEEN, strict=True)
    assert [turn.role for turn in prompts[0].turns] == ["user", "assistant", "tool"]
    assert isinstance(prompts[0].turns[1].parts[0], Call)
    assert [part.content for part in prompts[3].turns[2].parts if isinstance(part, Result)] == ["error: division by zero"]
    assert {answer.text for answer in answers} == {"Done."}


def test_each_answer_has_a_tool_of_its_own_which_remembers(make: Make, plugins: Plugins, home: Path) -> None:
    again: Script = lambda *_: CALL % ("counter", "{}")  # noqa: E731
    keys = {"tools": "counter", "max_tool_calling_iterations": 2}
    trainer, batch = scripted(make, plugins, home / "c", [again], **keys)
    told = [
        trainer.processing_class.decode(ids[mask.bool()])
        for ids, mask in zip(batch["completion_ids"], batch["completion_mask"], strict=True)
    ]
    assert all(
        f"{total}:1\n" in words and f"{total}:2\n" in words and ":3" not in words
        for words, total in zip(told, (4, 4, 5, 5), strict=True)
    )
    assert len(batch["asked"]) == 3


def test_a_tool_that_is_not_there_and_a_call_without_room(make: Make, plugins: Plugins, home: Path) -> None:
    wrong: Script = lambda *_: CALL % ("abacus", "{}")  # noqa: E731
    trainer, batch = scripted(make, plugins, home / "d", [wrong], max_tool_calling_iterations=1)
    assert "error: there is no tool 'abacus'" in trainer.processing_class.decode(batch["completion_ids"][0])
    trainer, batch = scripted(make, plugins, home / "e", [sums], max_new_tokens=40)
    assert len(batch["asked"]) == 1  # what the tool says would not fit
    assert batch["tool_mask"].all()


@pytest.mark.parametrize("stage", ["grpo", "distill"])
def test_a_model_that_has_learned_to_call_does_so(stage: str, make: Make, plugins: Plugins, home: Path) -> None:
    """Trained on calls, then in rollouts: the tool is run, and its answer is what the reward is for."""
    taught = home / "taught"
    if not taught.exists():
        keys = {"stage": "sft", "dataset": "calls", "finetuning_type": "full", "learning_rate": 5e-3, "max_steps": 60}
        plain = plan_maker(home, plugins, num_train_epochs=99, per_device_train_batch_size=4)
        launch.train(plain(**keys, output_dir=str(taught)), plugins)
    folder = home / f"rollouts-{stage}"
    keys = {"stage": stage, "model_name_or_path": str(taught), "output_dir": str(folder), "max_steps": 2, "temperature": 0.2}
    more = (
        {"teacher_model": str(home / "model"), "reward_funcs": ()} if stage == "distill" else {"per_device_train_batch_size": 8}
    )
    launch.train(make(**{**keys, **more}, finetuning_type="full", num_train_epochs=9, learning_rate=1e-6), plugins)
    assert logged(folder, "tools/call_frequency")[0] > 0.5
    assert logged(folder, "tools/failure_frequency")[0] < 0.5
    if stage == "grpo":
        assert logged(folder, "reward")[0] > 0.3, history(folder)


def test_a_stage_that_cannot_call_says_so(make: Make, home: Path) -> None:
    with pytest.raises(ConfigError, match="tools: trl's RLOO calls none"):
        make(stage="rloo", output_dir=str(home / "f"))


def test_an_unknown_tool_is_a_plan_error(make: Make, home: Path) -> None:
    with pytest.raises(ConfigError, match="calculatr") as caught:
        make(tools="calculatr", output_dir=str(home / "g"))
    assert "calculator" in str(caught.value)
