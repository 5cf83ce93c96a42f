"""A checkpoint of other data, another template, tokenizer, tuner or model is refused, and the keys that differ are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tunesmith.errors import TunesmithError
from tunesmith.host_options import DataOptions, ModelOptions, RunOptions
from tunesmith.plan import ModelWish, Plan
from tunesmith.runtime.checkpoint import Checkpoint, Manifest
from tunesmith.runtime.drift import check_drift
from tunesmith.runtime.fingerprints import role_hash
from tunesmith.testing.hand_plan import hand_plan

THEN = {"data": "a", "template": "b", "tokenizer": "c", "tuner": "d"}


def plan(*allowed: str, **keys: object) -> Plan:
    options = (DataOptions(template="qwen3"), ModelOptions(hf_hub_token="secret"), RunOptions(allow_drift=allowed))  # type: ignore[arg-type]
    return hand_plan(*options, picked={"tuners": "lora"}, **{"lora_rank": 8, **keys})


@pytest.fixture
def found(tmp_path: Path) -> Checkpoint:
    plan().write(tmp_path / "plan.json")
    return Checkpoint(tmp_path, Manifest(3, {}, THEN))


def test_what_changed_is_named_unless_it_is_allowed(found: Checkpoint) -> None:
    now = THEN | {"data": "x", "tokenizer": "y"}
    with pytest.raises(TunesmithError, match="data and tokenizer changed since it was written") as caught:
        check_drift(found, now, plan())
    assert "allow_drift: data,tokenizer" in str(caught.value.hint)
    with pytest.raises(TunesmithError, match="continued: tokenizer changed"):
        check_drift(found, now, plan("data"))
    check_drift(found, now, plan("data", "tokenizer"))


def test_the_keys_that_differ_are_named_and_no_secret(found: Checkpoint) -> None:
    changed = plan(lora_rank=16, cutoff_len=99, hf_hub_token="another", learning_rate=1.0)
    with pytest.raises(TunesmithError) as caught:
        check_drift(found, THEN | {"tuner": "x", "data": "y"}, changed)
    assert "(cutoff_len was 2048, now 99; lora_rank was 8, now 16)" in caught.value.message


def test_keys_of_what_did_not_change_are_left_out(found: Checkpoint) -> None:
    with pytest.raises(TunesmithError) as caught:
        check_drift(found, THEN | {"data": "y"}, plan(lora_rank=16, cutoff_len=99))
    assert "lora_rank" not in caught.value.message


def test_a_change_that_no_key_explains_is_told_without_keys(found: Checkpoint) -> None:
    with pytest.raises(TunesmithError, match=r"template changed since it was written\."):
        check_drift(found, THEN | {"template": "x"}, plan())


def test_another_model_of_a_role_is_another_run(tmp_path: Path) -> None:
    def write(folder: Path, config: str, size: int) -> str:
        folder.mkdir(exist_ok=True)
        (folder / config).write_text("{}")
        (folder / "weights.safetensors").write_bytes(bytes(size))
        return str(folder)

    model, adapter = write(tmp_path / "model", "config.json", 8), write(tmp_path / "adapter", "adapter_config.json", 8)
    wish = ModelWish("reference", model, (adapter,))
    before = role_hash(plan(), wish)
    assert role_hash(plan(), wish) == before
    assert role_hash(plan(), replace(wish, bits=4)) != before
    write(tmp_path / "adapter", "adapter_config.json", 9)
    after = role_hash(plan(), wish)
    assert after != before
    write(tmp_path / "model", "config.json", 9)
    assert role_hash(plan(), wish) != after
    assert role_hash(plan(), ModelWish("reference", None, base_of="policy"))


def test_a_checkpoint_of_another_program_says_nothing(tmp_path: Path) -> None:
    check_drift(Checkpoint(tmp_path, None), THEN, plan())
