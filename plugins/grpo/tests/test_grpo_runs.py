"""From a configuration to a policy that gets more reward, by trl, on prompts that our renderer made."""

from __future__ import annotations

import gc
import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tunesmith import TunesmithError, launch
from tunesmith.errors import ConfigError
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import make_tiny
from tunesmith.testing.small_prompts import Make, history, logged, plan_maker, prompts_home

CONTINUOUS: dict[str, Any] = {"use_transformers_continuous_batching": True}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompts_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def plugins(home: Path) -> Plugins:
    return Plugins(local=home)


@pytest.fixture(scope="module")
def make(plugins: Plugins, home: Path) -> Make:
    return plan_maker(home, plugins, stage="grpo", per_device_train_batch_size=16, learning_rate=1e-2, max_new_tokens=4)


@pytest.mark.parametrize(
    ("stage", "kind", "keys"),
    [
        ("grpo", "full", {"learning_rate": 3e-3}),
        ("grpo", "lora", {"beta": 0.001}),
        ("rloo", "lora", {"beta": 0.001, "num_generations": 4}),
        ("rloo", "full", {"learning_rate": 3e-3, "beta": 0.001}),
    ],
)
def test_the_reward_rises_clearly_above_chance(
    stage: str, kind: str, keys: dict[str, Any], make: Make, plugins: Plugins, home: Path
) -> None:
    folder = home / f"{stage}-{kind}"
    given = {"reward_funcs": "singing", "max_steps": 40, "num_train_epochs": 99, **keys}
    launch.train(make(stage=stage, finetuning_type=kind, output_dir=str(folder), **given), plugins)
    rated = logged(folder, "reward")
    assert sum(rated[-5:]) / 5 > sum(rated[:3]) / 3 + 0.12, rated
    assert {"rewards/singing/mean", "completions/mean_length"} <= set(history(folder)[0])
    assert ("kl" in history(folder)[0]) == bool(keys.get("beta"))
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt"))


@pytest.mark.parametrize("stage", ["grpo", "rloo"])
@pytest.mark.parametrize("keys", [{"pissa_init": True}, {"finetuning_type": "adalora"}], ids=["pissa", "adalora"])
def test_the_reference_is_the_policy_as_it_starts(
    stage: str, keys: dict[str, Any], make: Make, plugins: Plugins, home: Path
) -> None:
    """Also where an adapter has taken a part of the weights, and where a model cannot have two adapters."""
    folder = home / f"start-{stage}-{next(iter(keys))}"
    given = {"finetuning_type": "lora", "reward_funcs": "singing", "num_generations": 8, "beta": 0.1, "max_steps": 2, **keys}
    launch.train(make(stage=stage, output_dir=str(folder), **given), plugins)
    assert logged(folder, "kl")[0] == pytest.approx(0, abs=1e-5)


def test_trl_starts_from_the_ids_that_our_renderer_made(make: Make, plugins: Plugins, home: Path) -> None:
    from tunesmith.data.flow import prepare
    from tunesmith.runtime.session import open_session

    plan = make(output_dir=str(home / "ids"), reward_funcs="singing", default_system="Be brief.")
    session = open_session(plan, plugins, prepare(plan, plugins))
    trainer = session.trainer.trainer(session)  # type: ignore[attr-defined]
    ids, _, _ = trainer._tokenize_prompts([trainer.train_dataset[3]["prompt"]])
    asked = trainer.book.prompt("train/3").conversation
    text = session.renderer.render(asked, generation_prompt=True).text  # type: ignore[union-attr]
    session.close()
    assert session.tokenizer.decode(ids[0]) == text
    assert "Be brief." in text
    assert text.endswith("<|im_start|>assistant\n") or "<think>" in text


def test_a_resumed_run_repeats_the_losses_exactly(make: Make, plugins: Plugins, home: Path) -> None:
    """In the middle of the second epoch, with answers that are drawn."""
    folder = home / "resumed"
    keys = {"reward_funcs": "singing", "output_dir": str(folder), "num_train_epochs": 2, "save_strategy": "steps"}
    keys |= {"save_steps": 5, "finetuning_type": "lora", "num_generations": 8, "learning_rate": 1e-3}
    launch.train(make(**keys), plugins)
    whole = (logged(folder, "loss"), logged(folder, "reward"))
    assert len(whole[0]) == 8
    launch.train(make(resume_from_checkpoint=str(folder / "checkpoint-5"), **keys), plugins)
    assert (logged(folder, "loss"), logged(folder, "reward")) == whole


@pytest.fixture
def few_objects() -> Iterator[None]:
    """Each round of continuous batching looks for garbage, which takes a second where a test has loaded half the world."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize(("stage", "steps", "rise"), [("grpo", 24, 0.1), ("rloo", 4, -1.0)])
def test_continuous_batching_learns_and_resumes_exactly(
    stage: str, steps: int, rise: float, make: Make, plugins: Plugins, home: Path
) -> None:
    """From a pool that is too small for all answers at once, so that some wait; under bfloat16, which rounds no weight."""
    folder = home / f"continuous-{stage}"
    keys = {"transformers_continuous_batching_config": {"num_blocks": 24, "page_size": 16}, "finetuning_type": "lora"}
    keys |= {"reward_funcs": "singing", "output_dir": str(folder), "num_train_epochs": 99, "max_steps": steps, "bf16": True}
    keys |= {"save_strategy": "steps", "save_steps": steps - 2, "stage": stage, **CONTINUOUS}
    launch.train(make(**keys), plugins)
    whole = (logged(folder, "loss"), logged(folder, "reward"))
    assert sum(whole[1][-5:]) / len(whole[1][-5:]) > sum(whole[1][:3]) / 3 + rise, whole[1]
    launch.train(make(resume_from_checkpoint=str(folder / f"checkpoint-{steps - 2}"), **keys), plugins)
    assert (logged(folder, "loss"), logged(folder, "reward")) == whole


def test_likeliest_answers_are_those_of_generate(make: Make, plugins: Plugins, home: Path) -> None:
    """Prompts of different lengths, in the model's own order, with the pool that is made where nothing is said."""
    from tunesmith.data.flow import prepare
    from tunesmith.runtime.session import open_session
    from tunesmith_grpo.continuous import answer

    plan = make(output_dir=str(home / "greedy"), reward_funcs="singing", max_new_tokens=12)
    session = open_session(plan, plugins, prepare(plan, plugins))
    trainer = session.trainer.trainer(session)  # type: ignore[attr-defined]
    drawn = random.Random(3)
    ids = [[drawn.randrange(20, 200) for _ in range(4 + 3 * row)] for row in range(8)]
    trainer.generation_config.do_sample = False
    trainer.generation_config.temperature = trainer.generation_config.top_p = trainer.generation_config.top_k = None
    plain, _ = trainer._generate_single_turn(ids, None, {}, 1)
    together = answer(trainer, ids, {})
    session.close()
    assert together == plain
    assert len({tuple(one) for one in plain}) > 1


def test_a_pool_that_can_hold_no_answer_is_said(make: Make, plugins: Plugins, home: Path) -> None:
    keys = {"reward_funcs": "singing", **CONTINUOUS, "max_steps": 1, "output_dir": str(home / "no-pool")}
    plan = make(**keys, transformers_continuous_batching_config={"num_blocks": 1, "page_size": 4})
    with pytest.raises(TunesmithError, match="continuous batching"):
        launch.train(plan, plugins)


def test_a_student_answers_continuously_too(make: Make, plugins: Plugins, home: Path) -> None:
    teacher = home / "other-teacher"
    make_tiny("qwen3", teacher, seed=6)
    keys = {"stage": "distill", "teacher_model": str(teacher), "max_steps": 2, "per_device_train_batch_size": 8}
    outcome = launch.train(make(**keys, **CONTINUOUS, output_dir=str(home / "continuous-distill")), plugins)
    assert outcome.steps == 2


class Longer(BaseHTTPRequestHandler):
    """A reward model at an address: longer texts are better."""

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"]
        assert all("Give me" in text and "<|im_start|>assistant" in text for text in texts)
        body = json.dumps({"scores": [float(len(text)) for text in texts]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def test_a_reward_model_at_an_address_rates(make: Make, plugins: Plugins, home: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Longer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    keys = {"reward_model": f"http://127.0.0.1:{server.server_port}/", "reward_model_type": "api", "max_steps": 1}
    launch.train(make(output_dir=str(home / "address"), **keys), plugins)
    server.shutdown()
    server.server_close()
    assert logged(home / "address", "rewards/model/mean")[0] > 10


def test_a_reward_adapter_rates_beside_functions(make: Make, plugins: Plugins, home: Path) -> None:
    rater = home / "rater"
    launch.train(make(stage="rm", dataset="pairs", output_dir=str(rater), max_steps=4), plugins)
    keys = {"reward_model": str(rater), "reward_funcs": "singing", "reward_weights": [0.5], "max_steps": 1}
    keys |= {"eval_dataset": "prompts", "do_eval": True, "per_device_eval_batch_size": 8}
    outcome = launch.train(make(output_dir=str(home / "both"), **keys), plugins)
    first = history(home / "both")[0]
    parts = 0.5 * first["rewards/singing/mean"] + first["rewards/model/mean"]
    assert first["reward"] == pytest.approx(parts, abs=1e-4)
    assert "eval_reward" in outcome.metrics or logged(home / "both", "eval_reward")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "needs a reward model"),
        ({"reward_funcs": "singing", "num_generations": 6}, "does not divide"),
        ({"reward_funcs": "singing", "do_sample": False}, "have to differ"),
        ({"reward_funcs": "singing", "num_beams": 2}, "num_beams"),
        ({"reward_funcs": "singing", "loss_type": "gspo"}, "loss_type"),
        ({"reward_funcs": "singing", "use_vllm": True}, "which cpu cannot run"),
        ({"reward_funcs": "singing", "streaming": True, "max_steps": 2}, "streaming"),
        ({"reward_funcs": "singing", **CONTINUOUS, "repetition_penalty": 1.1}, "does not apply it"),
        (
            {"reward_funcs": "singing", **CONTINUOUS, "transformers_continuous_batching_config": {"seed": 1}},
            "seed is the run's",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_the_plan(make: Make, home: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, TunesmithError), match=words):
        make(output_dir=str(home / "refused"), **keys).check_ready()


def test_the_arguments_have_the_defaults_that_the_plan_shows(make: Make, home: Path) -> None:
    from transformers import TrainingArguments
    from tunesmith_grpo.stages import GrpoStage

    plan = make(output_dir=str(home / "e"), reward_funcs="singing", epsilon=0.3)
    made = GrpoStage(plan).arguments_class()(output_dir="x", use_cpu=True, per_device_train_batch_size=8)
    plain = TrainingArguments(output_dir="x", use_cpu=True)
    for name in ("bf16", "learning_rate", "gradient_checkpointing", "logging_steps"):
        assert getattr(made, name) == getattr(plain, name), name
    assert (made.epsilon, made.max_completion_length, made.temperature) == (0.3, 4, 1.0)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_student_learns_from_a_teacher(kind: str, make: Make, plugins: Plugins, home: Path) -> None:
    """The teacher has other random weights; the divergence from it falls by a good part."""
    teacher = home / "teacher"
    if not teacher.exists():
        make_tiny("qwen3", teacher, seed=5)
    folder = home / f"distilled-{kind}"
    keys = {"stage": "distill", "teacher_model": str(teacher), "max_steps": 30, "num_train_epochs": 99}
    keys |= {"learning_rate": 1e-2, "per_device_train_batch_size": 8}
    launch.train(make(finetuning_type=kind, output_dir=str(folder), **keys), plugins)
    losses = logged(folder, "loss")
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3]), losses


def test_too_few_prompts_for_a_round_are_said(make: Make, plugins: Plugins, home: Path) -> None:
    plan = make(output_dir=str(home / "few"), reward_funcs="singing", gradient_accumulation_steps=8)
    with pytest.raises(TunesmithError, match="8 prompts are too few"):
        launch.train(plan, plugins)


def test_a_model_has_nothing_to_learn_from_itself(make: Make, home: Path) -> None:
    keys = {"stage": "distill", "teacher_model": str(home / "model"), "finetuning_type": "lora"}
    with pytest.raises(ConfigError, match="nothing to learn from itself"):
        make(output_dir=str(home / "self"), **keys)
