"""Small random models: every family is whole, loads without complaint, and comes out the same for the same seed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
from tunesmith.cli.tiny import tiny
from tunesmith.errors import TunesmithError
from tunesmith.runtime.tiny import families, make_tiny

FAMILIES = tuple(families())
MODEL_TYPES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3-moe": "qwen3_moe",
    "gemma3": "gemma3_text",
    "mistral": "mistral",
    "phi": "phi3",
    "deepseek-v3": "deepseek_v3",
    "gpt-oss": "gpt_oss",
    "qwen2-vl": "qwen2_vl",
    "llava": "llava",
}
TEXTS = (
    "The quick brown fox jumps over 13 lazy dogs.",
    "微调大语言模型需要耐心。",
    'def f(x):\n    return {"a": [x, None]}\n\n',
    "été ß Ω 😀 👩‍👩‍👧 end",
    "  two  spaces\tand a tab\n",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """family → its folder, made once."""
    root = tmp_path_factory.mktemp("tiny")
    return lambda family: root / family if (root / family).exists() else make_tiny(family, root / family)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_every_named_architecture_is_there() -> None:
    assert set(FAMILIES) == set(MODEL_TYPES)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_load_completely_and_generate(made: Any, family: str) -> None:
    folder = made(family)
    kind = AutoModelForImageTextToText if families()[family].sees else AutoModelForCausalLM
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    assert model.config.model_type == MODEL_TYPES[family]
    assert not any(report.values()), report
    assert 0.5e6 < (folder / "model.safetensors").stat().st_size < 5e6
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(["Hello there", "Who are you, really?"], return_tensors="pt", padding=True)
    out = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert out.shape[1] > inputs.input_ids.shape[1]
    assert torch.isfinite(model(**inputs).logits).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizer_keeps_text_and_is_the_same_in_both_libraries(made: Any, family: str) -> None:
    folder = made(family)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        assert ids == plain.encode(text).ids
        # Where a space is put before every text, as Mistral's tokenizer does, a text's own first space takes its place.
        kept = text.removeprefix(" ") if families()[family].spaces == "first" else text
        assert tokenizer.decode(ids, skip_special_tokens=True) == kept


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_are_the_familys_own(made: Any, family: str) -> None:
    facts, folder = families()[family], made(family)
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (facts.bos, facts.eos, facts.pad)
    for token in (*facts.special, *facts.plain):
        ids = tokenizer(token, add_special_tokens=False).input_ids
        assert len(ids) == 1, token
        assert tokenizer.decode(ids, skip_special_tokens=True) == ("" if token in facts.special else token)
    starts = [tokenizer.bos_token_id] if facts.add_bos else []
    assert tokenizer("").input_ids == starts
    assert config.get_text_config().vocab_size == len(tokenizer) == 2048
    assert config.eos_token_id == tokenizer.convert_tokens_to_ids(list(facts.stop))
    assert tokenizer.eos_token_id in config.eos_token_id


@pytest.mark.parametrize("family", FAMILIES)
def test_chat_template_is_there_and_ends_answers_with_a_stop_token(made: Any, family: str) -> None:
    tokenizer, facts = AutoTokenizer.from_pretrained(made(family)), families()[family]
    asked = [{"role": "user", "content": "Who are you?"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": "A model."}], tokenize=False)
    assert "Who are you?" in prompt
    assert "A model." in whole
    assert whole.rstrip().endswith(tuple(facts.stop))
    assert prompt.startswith(facts.bos or "") or not facts.add_bos


def test_the_same_seed_gives_the_same_bytes_in_another_process(made: Any, tmp_path: Path) -> None:
    code = f"from tunesmith.runtime.tiny import make_tiny; make_tiny('qwen3', {str(tmp_path / 'again')!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "7", "HF_HUB_OFFLINE": "1"})
    for name in ("model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"):
        assert digest(made("qwen3") / name) == digest(tmp_path / "again" / name), name


def test_another_seed_gives_other_weights_and_the_same_tokenizer(made: Any, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    make_tiny("llama", tmp_path / "other", seed=1)
    assert torch.equal(before, torch.random.get_rng_state()), "the caller's random state was changed"
    assert digest(made("llama") / "model.safetensors") != digest(tmp_path / "other" / "model.safetensors")
    assert digest(made("llama") / "tokenizer.json") == digest(tmp_path / "other" / "tokenizer.json")


def test_sizes_are_what_was_asked_for(tmp_path: Path) -> None:
    make_tiny("deepseek-v3", tmp_path / "m", hidden=128, layers=3, heads=8, kv_heads=8, experts=6, vocab=1500, context=512)
    config = AutoConfig.from_pretrained(tmp_path / "m")
    found = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.n_routed_experts)
    assert found == (128, 3, 8, 6)
    assert (config.vocab_size, config.max_position_embeddings) == (1500, 512)


@pytest.mark.parametrize(
    ("family", "sizes", "says"),
    [
        ("lama", {}, "no family 'lama'"),
        ("llama", {"hiden": 64}, "no size 'hiden'"),
        ("llama", {"hidden": 66}, "no multiple of heads"),
        ("llama", {"heads": 4, "kv_heads": 3}, "no multiple of kv_heads"),
        ("llama", {"hidden": 24}, "multiple of 4"),
        ("llama", {"layers": 0}, "layers is 0"),
        ("llama", {"vocab": 200}, "of 200 tokens cannot be made"),
        ("gemma3", {"vocab": 300}, "of 300 tokens cannot be made"),
        ("qwen3", {"vocab": 1_000_000}, "of 1000000 tokens cannot be made"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(tmp_path: Path, family: str, sizes: dict[str, int], says: str) -> None:
    with pytest.raises(TunesmithError, match=says) as caught:
        make_tiny(family, tmp_path / "m", **sizes)
    assert caught.value.hint
    assert not (tmp_path / "m").exists()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TunesmithError, match="not empty"):
        make_tiny("llama", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_it_learns_a_few_sentences_quickly(made: Any) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(made("qwen3")), AutoModelForCausalLM.from_pretrained(made("qwen3"))
    batch = tokenizer(
        ["The sky is blue.", "Grass is green.", "1 + 2 = 3"], return_tensors="pt", padding=True, padding_side="right"
    )
    labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


def test_the_command_makes_a_model_and_says_where(tmp_path: Path) -> None:
    result = CliRunner().invoke(tiny, ["llama", "--out", str(tmp_path / "m"), "--seed", "4", "--layers", "1"])
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "m") in result.output
    assert AutoConfig.from_pretrained(tmp_path / "m").num_hidden_layers == 1


def test_listing_the_families_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from tunesmith.cli.tiny import tiny;"
        "r = CliRunner().invoke(tiny, ['--list']); print(r.output, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(family in out for family in FAMILIES)
    assert out.split()[-2:] == ["False", "False"]
