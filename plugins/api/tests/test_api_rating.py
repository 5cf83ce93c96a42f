"""Rewards and embeddings from served models, over HTTP: the numbers are the model's own."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from tunesmith.runtime.tiny import make_tiny
from tunesmith.runtime.value_head import write_value_head

from .conftest import KEY
from .running import MODEL, Running, post
from .taught import HELLO, HELLO_BACK

pytestmark = pytest.mark.xdist_group("api")
TEXTS = ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n", "a", "Rome wasn't built in a day. " * 20]


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model: a model with a value head."""
    folder = make_tiny("qwen3", tmp_path_factory.mktemp("reward") / "model")
    write_value_head({"summary.weight": weight(), "summary.bias": torch.ones(1)}, folder)
    return folder


def weight() -> torch.Tensor:
    return torch.randn(1, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rating(reward: Path) -> Iterator[Running]:
    running = Running(f"model_name_or_path={reward}", "template=qwen3", "stage=rm", "infer_dtype=float32", "max_concurrent=2")
    yield running
    running.close()


@torch.no_grad()
def hidden(folder: Path, text: str) -> torch.Tensor:
    """The last hidden states of a text whose special tokens count."""
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.model(torch.tensor([ids])).last_hidden_state[0]


def scores(server: Running, **fields: Any) -> Any:
    return post(f"{server.url}/v1/score/evaluation", {"model": MODEL, "messages": TEXTS, **fields})


def test_rewards_are_what_the_value_head_says_at_the_last_token(rating: Running, reward: Path) -> None:
    status, _, made = scores(rating)
    assert status == 200
    assert (made["object"], made["model"], made["id"][:9]) == ("score.evaluation", MODEL, "scoreval-")
    expected = [float(hidden(reward, text)[-1] @ weight()[0]) + 1 for text in TEXTS]
    assert made["scores"] == pytest.approx(expected, abs=1e-3)


def test_texts_are_cut_where_a_request_says_so(rating: Running) -> None:
    """What stands beside a text changes nothing of its reward."""
    (cut,) = scores(rating, messages=[TEXTS[2]], max_length=5)[2]["scores"]
    assert cut != pytest.approx(scores(rating)[2]["scores"][2], abs=1e-3)
    assert scores(rating, max_length=5)[2]["scores"][2] == pytest.approx(cut, abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "param"), [({"messages": []}, "messages"), ({"max_length": 0}, "max_length"), ({"model": "x"}, "model")]
)
def test_a_wrong_request_is_refused_by_name(rating: Running, fields: Any, param: str) -> None:
    status, _, answer = scores(rating, **fields)
    assert status == (404 if param == "model" else 400)
    assert answer["error"]["param"] == param


def test_embeddings_have_length_1_and_are_the_same_as_numbers_and_as_bytes(server: Running, taught: Path) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
        made = client.embeddings.create(model=MODEL, input=[HELLO, HELLO_BACK], encoding_format="float")
        vectors = torch.tensor([one.embedding for one in made.data])
    mean = hidden(taught, HELLO).mean(0)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-4)
    assert torch.allclose(vectors[0], mean / mean.norm(), atol=1e-3)
    assert [one.index for one in made.data] == [0, 1]
    assert made.usage.total_tokens == made.usage.prompt_tokens > 5
    asked = {"model": MODEL, "input": HELLO, "encoding_format": "base64"}
    packed = post(f"{server.url}/v1/embeddings", asked, Authorization=f"Bearer {KEY}")[2]["data"][0]["embedding"]
    raw = base64.b64decode(packed)
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(vectors[0].tolist(), abs=1e-4)


def test_several_answers_stream_with_their_own_log_probabilities(server: Running) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
        asked: Any = {"messages": [{"role": "user", "content": HELLO}], "n": 2, "logprobs": True, "top_logprobs": 1}
        whole = client.chat.completions.create(model=MODEL, **asked)
        found: dict[int, list[tuple[str, float]]] = {0: [], 1: []}
        texts = {0: "", 1: ""}
        for chunk in client.chat.completions.create(model=MODEL, stream=True, **asked):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                for one in (choice.logprobs.content if choice.logprobs else None) or ():
                    assert one.top_logprobs[0].logprob >= one.logprob
                    found[choice.index].append((one.token, one.logprob))
    assert texts == {0: HELLO_BACK, 1: HELLO_BACK}
    for choice in whole.choices:
        assert choice.logprobs is not None
        expected = [(one.token, pytest.approx(one.logprob, abs=1e-3)) for one in choice.logprobs.content or ()]
        assert found[choice.index] == expected
