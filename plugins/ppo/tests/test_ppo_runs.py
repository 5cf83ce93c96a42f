"""From a configuration to a policy that gets more reward: by functions, by reward models of each kind, and what is refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from tunesmith import TunesmithError, launch
from tunesmith.errors import ConfigError
from tunesmith.outcome import Outcome
from tunesmith.plugins import Plugins
from tunesmith.runtime.reward_address import ask_address
from tunesmith.testing.small_prompts import Make, logged, plan_maker, prompts_home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompts_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def plugins(home: Path) -> Plugins:
    return Plugins(local=home)


@pytest.fixture(scope="module")
def make(plugins: Plugins, home: Path) -> Make:
    return plan_maker(home, plugins, stage="ppo", per_device_train_batch_size=8, learning_rate=1e-3, max_new_tokens=8)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_reward_rises_clearly_above_chance(kind: str, make: Make, plugins: Plugins, home: Path) -> None:
    folder = home / f"rises-{kind}"
    keys = {"learning_rate": 3e-3} if kind == "full" else {"learning_rate": 1e-2, "lora_rank": 16, "ppo_value_weight": 0.01}
    keys |= {"max_steps": 64, "num_train_epochs": 99, "per_device_train_batch_size": 32, "max_new_tokens": 4}
    plan = make(finetuning_type=kind, output_dir=str(folder), reward_funcs="singing", ppo_kl_coef=0.01, **keys)
    launch.train(plan, plugins)
    rated = logged(folder, "reward")
    assert rated[0] < 0.2, rated
    assert sum(rated[-3:]) / 3 > 0.4, rated
    assert {"kl", "kl_coef", "loss/policy", "loss/value", "policy/entropy", "answers/length"} <= set(
        json.loads((folder / "trainer_state.json").read_text())["log_history"][0]
    )
    head = load_file(folder / "value_head.safetensors")
    assert set(head) == {"v_head.summary.weight", "v_head.summary.bias"}
    assert float(head["v_head.summary.bias"]) != 0.0


@pytest.fixture(scope="module")
def rater(make: Make, plugins: Plugins, home: Path) -> dict[str, Path]:
    """A reward model of each kind that has learned from pairs."""
    found = {}
    for kind in ("full", "lora"):
        found[kind] = home / f"rater-{kind}"
        plan = make(stage="rm", dataset="pairs", finetuning_type=kind, output_dir=str(found[kind]), max_steps=8)
        launch.train(plan, plugins)
    return found


def short(make: Make, plugins: Plugins, folder: Path, **keys: Any) -> Outcome:
    return launch.train(make(output_dir=str(folder), max_steps=2, ppo_epochs=1, overwrite_output_dir=True, **keys), plugins)


def test_a_reward_adapter_lies_on_the_same_base(make: Make, plugins: Plugins, home: Path, rater: dict[str, Path]) -> None:
    plan = make(output_dir=str(home / "a"), reward_model=str(rater["lora"]))
    assert plan.models["reward"].base_of == plan.models["reference"].base_of == "policy"
    short(make, plugins, home / "by-adapter", reward_model=str(rater["lora"]), do_sample=False)
    short(make, plugins, home / "by-model", reward_model=str(rater["full"]), reward_model_type="full", do_sample=False)
    assert all(abs(one) > 1e-3 for one in logged(home / "by-adapter", "reward"))
    assert logged(home / "by-adapter", "reward")[0] != logged(home / "by-model", "reward")[0]


def test_a_reward_model_rates_as_the_command_does(make: Make, plugins: Plugins, home: Path, rater: dict[str, Path]) -> None:
    """The reward that is logged is the one that the scorer gives to the same texts."""
    from tunesmith.data.flow import prepare
    from tunesmith.runtime.scorer import Scorer
    from tunesmith.runtime.session import open_session
    from tunesmith_ppo.rollout import PromptRows, Roller

    plan = make(output_dir=str(home / "b"), reward_model=str(rater["lora"]), do_sample=False)
    session = open_session(plan, plugins, prepare(plan, plugins))
    data = PromptRows(session.train_data)
    rollout = Roller(session).roll(session.models["policy"], [[data[0], data[1]], [data[2]]])
    other = make(stage="rm", dataset="pairs", adapter_name_or_path=str(rater["lora"]), output_dir=str(home / "c"))
    rated = Scorer(other, plugins).rate_ids([row["ids"].numpy() for row in rollout.rows])
    session.close()
    assert rollout.rated.total.tolist() == pytest.approx(rated, abs=1e-4)


class Server(BaseHTTPRequestHandler):
    """A reward model at an address: longer texts are better. What it is asked is kept; paths make it misbehave."""

    asked: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(asked)
        if self.path == "/slow":
            time.sleep(1)
        scores = [float(len(text)) for text in asked["messages"]][: 1 if self.path == "/few" else None]
        body = b"{}" if self.path == "/none" else json.dumps({"scores": scores}).encode()
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_reward_model_at_an_address(make: Make, plugins: Plugins, home: Path, address: str) -> None:
    short(make, plugins, home / "by-address", reward_model=f"{address}/", reward_model_type="api")
    texts = Server.asked[-1]["messages"]
    assert len(texts) == 8
    assert all("Give me" in text and "<|im_start|>assistant" in text for text in texts)
    assert logged(home / "by-address", "reward")[-1] == pytest.approx(sum(map(len, texts)) / 8)


@pytest.mark.parametrize(
    ("path", "words"),
    [("/slow", "within 0.2 seconds"), ("/few", "1 scores to 2 texts"), ("/none", "no list of numbers"), ("/broken", "500")],
)
def test_an_address_that_misbehaves_is_named(path: str, words: str, address: str) -> None:
    with pytest.raises(TunesmithError, match=words):
        ask_address(address + path, ["a", "b"], 0.2)


def test_nobody_at_an_address_is_said() -> None:
    with pytest.raises(TunesmithError, match="cannot be asked"):
        ask_address("http://127.0.0.1:9/", ["a"], 2.0)


def test_evaluation_answers_prompts_that_are_set_aside(make: Make, plugins: Plugins, home: Path) -> None:
    keys = {"reward_funcs": ["singing", "length"], "reward_weights": [2.0, 0.5], "eval_dataset": "prompts", "do_eval": True}
    metrics = short(make, plugins, home / "judged", per_device_eval_batch_size=3, **keys).metrics
    parts = 2 * metrics["eval_reward/singing"] + 0.5 * metrics["eval_reward/length"]
    assert metrics["eval_reward"] == pytest.approx(parts, abs=1e-5) == pytest.approx(-metrics["eval_loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "needs a reward model"),
        ({"reward_funcs": "singing", "reward_weights": [1.0, 2.0]}, "2 weights"),
        ({"reward_funcs": "singing", "num_beams": 2}, "num_beams"),
        ({"reward_funcs": "singing", "streaming": True, "max_steps": 2}, "streaming"),
        ({"reward_funcs": "sinking"}, "singing"),
        ({"reward_funcs": "singing", "do_predict": True}, "do_predict"),
        ({"reward_model": "nowhere", "reward_model_type": "api"}, "no address"),
    ],
)
def test_what_cannot_work_is_refused_in_the_plan(make: Make, home: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, TunesmithError), match=words):
        make(output_dir=str(home / "refused"), **keys).check_ready()


def test_all_tokens_are_drawn_from_unless_said_otherwise(make: Make, home: Path) -> None:
    plan = make(output_dir=str(home / "d"), reward_funcs="singing")
    assert (plan["temperature"], plan["top_p"], plan["top_k"]) == (1.0, 1.0, 0)


def test_the_policy_is_what_it_was_where_no_learning_rate_moves_it(make: Make, plugins: Plugins, home: Path) -> None:
    """Ratios are 1 and nothing is clipped: what is said while learning is what was said while answering."""
    folder = home / "still"
    keys = {"reward_funcs": "singing", "learning_rate": 0.0, "max_steps": 4, "ppo_epochs": 4, "finetuning_type": "full"}
    launch.train(make(output_dir=str(folder), **keys), plugins)
    assert logged(folder, "policy/clipped") == [0.0] * 4
    assert all(moved < 1e-6 for moved in logged(folder, "policy/moved"))
    torch.testing.assert_close(torch.tensor(logged(folder, "kl")), torch.zeros(1), atol=1e-5, rtol=0)
