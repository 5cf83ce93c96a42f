"""New tokens and other changes of a model before it learns: how rows start, what is saved, and that a run resumes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from tunesmith.data.tokens import make_encoder
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.runtime.base_changes import tables
from tunesmith.runtime.loading import load_tokenizer, read_tokenizer
from tunesmith.runtime.new_tokens import grow
from tunesmith.runtime.router_loss import balance, router_loss
from tunesmith.runtime.upcasting import upcast
from tunesmith.runtime.weight_listing import listing
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import SmallStore, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.tiny_models import logits, tiny_batch, tiny_llama, tiny_moe

WORDS = ("<calm>", "<storm>")


@pytest.fixture
def described(tmp_path: Path) -> str:
    (tmp_path / "words.yaml").write_text('"<calm>": hello there\n"<storm>": world\n', encoding="utf-8")
    return str(tmp_path / "words.yaml")


def plan_with(folder: Path, **keys: Any) -> Plan:
    return small_plan(folder, small_plugins(), "small", **keys)


def grown(folder: Path, *, tied: bool = False, **keys: Any) -> tuple[PreTrainedModel, Any, tuple[int, ...], int]:
    plan = plan_with(folder, add_tokens=WORDS, **keys)
    tokenizer = read_tokenizer(plan, plan.models["policy"])
    before = len(tokenizer)
    model = tiny_llama(vocab_size=before, tie_word_embeddings=tied)
    return model, tokenizer, grow(model, tokenizer, plan), before


# ---- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_tables_grow_in_steps_of_64_and_old_rows_stay(tmp_path: Path, tied: bool) -> None:
    model, tokenizer, ids, before = grown(tmp_path, tied=tied)
    size = math.ceil((before + 2) / 64) * 64
    assert model.config.vocab_size == size
    assert {table.shape[0] for table in tables(model).values()} == {size}
    assert len(tables(model)) == (1 if tied else 2)
    assert ids == tuple(range(before, size))
    fresh = tiny_llama(vocab_size=before, tie_word_embeddings=tied)
    for name, table in tables(fresh).items():
        assert torch.equal(tables(model)[name][:before], table)
    assert tokenizer.convert_tokens_to_ids(list(WORDS)) == [before, before + 1]
    assert logits(model).shape[-1] == size


def test_rows_start_near_the_mean(tmp_path: Path) -> None:
    """The mean of all known rows, with noise of variance 1 / width drawn from the run's seed."""
    model, _, ids, before = grown(tmp_path, seed=5)
    for seed, table in enumerate(tables(model).values()):
        generator = torch.Generator().manual_seed(5 + seed)
        noise = torch.stack([torch.randn(64, generator=generator) for _ in ids]) / 8
        torch.testing.assert_close(table[before:].detach(), table[:before].mean(0) + noise)


@pytest.mark.parametrize("how", ["desc_init", "desc_init_w_noise"])
def test_rows_start_from_their_description(tmp_path: Path, described: str, how: str) -> None:
    keys = {"new_special_tokens_config": described, "init_special_tokens": how}
    model, tokenizer, _, before = grown(tmp_path, **keys)
    ids = tokenizer("hello there", add_special_tokens=False).input_ids
    assert ids
    for table in tables(model).values():
        expected = table[ids].mean(0)
        near = torch.allclose(table[before], expected, atol=1e-6)
        assert near == (how == "desc_init")
        assert (table[before] - expected).norm() < 2


def test_a_description_without_tokens_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text('"<calm>": "<storm>"\n', encoding="utf-8")
    keys = {"new_special_tokens_config": str(tmp_path / "words.yaml"), "init_special_tokens": "desc_init"}
    with pytest.raises(TunesmithError, match="the description of '<calm>' has no tokens that the model knows"):
        grown(tmp_path, **keys)


def test_room_in_the_tables_is_used(tmp_path: Path) -> None:
    """The model of small runs has 512 rows for its tokenizer's fewer words: nothing grows, and only new words start anew."""
    plan = plan_with(tmp_path, add_tokens=WORDS, add_special_tokens=("<|mark|>",))
    tokenizer = read_tokenizer(plan, plan.models["policy"])
    before = len(tokenizer)
    ids = grow(tiny_llama(vocab_size=512), tokenizer, plan)
    assert ids == (before, before + 1, before + 2)
    assert tokenizer.convert_tokens_to_ids(["<|mark|>", *WORDS]) == list(ids)


def test_the_data_road_gives_new_words_the_same_ids(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, add_tokens=WORDS, add_special_tokens=("<|mark|>",))
    tokenizer = load_tokenizer(plan, plan.models["policy"])
    encoder = make_encoder(plan, None)
    for word in ("<|mark|>", *WORDS):
        assert encoder.files.plain.token_to_id(word) == tokenizer.convert_tokens_to_ids(word)
    assert encoder.files.plain.encode("a<calm>b", add_special_tokens=False).ids[1:-1] == [
        tokenizer.convert_tokens_to_ids("<calm>")
    ]


# ---- whole runs --------------------------------------------------------------------------------------------------------


def run(folder: Path, **keys: Any) -> dict[str, torch.Tensor]:
    plugins = small_plugins()
    plan = small_plan(folder, plugins, "small", **keys)
    session = small_session(plan, plugins, SmallStore(small_rows(8)))
    session.trainer.run(session)
    weights = {name: weight.detach().clone() for name, weight in session.models["policy"].named_parameters()}
    session.close()
    return weights


def test_a_run_with_new_tokens_and_stretched_positions_saves_and_resumes(tmp_path: Path) -> None:
    keys = {"add_tokens": tuple(f"<w{n}>" for n in range(120)), "rope_scaling": "yarn", "cutoff_len": 256}
    keys |= {"save_strategy": "steps", "save_steps": 2}
    weights = run(tmp_path, **keys)
    saved = tmp_path / "out" / "checkpoint-2"
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == weights["model.embed_tokens.weight"].shape[0] > 512
    assert config["rope_parameters"]["rope_type"] == "yarn"
    assert config["rope_parameters"]["factor"] == 2.0
    assert config["max_position_embeddings"] == 256
    assert AutoTokenizer.from_pretrained(saved).convert_tokens_to_ids("<w119>") > 400
    assert AutoModelForCausalLM.from_pretrained(saved).config.vocab_size == config["vocab_size"]
    again = run(tmp_path, **keys, resume_from_checkpoint=str(saved))
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


def test_other_tokens_cannot_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    keys = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2}
    run(tmp_path, add_tokens=("<a>",), **keys)
    with pytest.raises(TunesmithError, match="tokenizer"):
        run(tmp_path, add_tokens=("<b>",), **keys, resume_from_checkpoint=True)


# ---- formats, router, listing ------------------------------------------------------------------------------------------


def test_norms_and_logits_in_float32() -> None:
    model = tiny_llama().to(torch.bfloat16).requires_grad_(False)
    upcast(model, hand_plan(upcast_layernorm=True, upcast_lmhead_output=True))
    formats = {name: weight.dtype for name, weight in model.named_parameters()}
    assert {dtype for name, dtype in formats.items() if "norm" in name} == {torch.float32}
    assert {dtype for name, dtype in formats.items() if "norm" not in name} == {torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        assert model(**tiny_batch()).logits.dtype is torch.float32


def test_the_routers_loss_is_that_of_the_library() -> None:
    model = tiny_moe()
    balance(model.config, hand_plan(moe_aux_loss_coef=0.5))
    assert model.config.router_aux_loss_coef == 0.5
    outputs = model(**tiny_batch(), output_router_logits=True)
    assert router_loss(outputs).item() >= 1.0  # even shares of all tokens give 2 of 4 experts · 4 / 2
    with pytest.raises(TunesmithError, match="moe_aux_loss_coef: the router's loss is not in what the model computes"):
        router_loss(tiny_llama()(**tiny_batch()))
    with pytest.raises(TunesmithError, match="no such loss for a model of type llama"):
        balance(tiny_llama().config, hand_plan(moe_aux_loss_coef=0.5))


def test_every_weight_is_listed_when_asked_for() -> None:
    model = tiny_llama()
    model.lm_head.requires_grad_(False)
    lines = list(listing(model, hand_plan(print_param_status=True)))
    assert len(lines) == len(list(model.parameters()))
    assert lines[-1] == "lm_head.weight: 128×64, float32, cpu, stays"
    assert not list(listing(model, hand_plan(print_param_status=False)))
