"""What a trained adapter answers is what the model answers that was exported from it, whoever wrote the adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from tunesmith.cli.main import main
from tunesmith.runtime.tiny import make_tiny
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_lora.options import LoraOptions
from tunesmith_lora.tuner import LoraTuner

IDS = torch.arange(5, 25)[None]
MakeAdapter = Callable[..., tuple[Path, torch.Tensor]]

#: Keys of the tuner lora → adapters of every make.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "all layers, higher rank": {"lora_rank": 16, "lora_target": ("all",)},
    "some layers": {"lora_target": ("q_proj", "down_proj")},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"pissa_init": True, "pissa_convert": True},
    "head and embeddings": {"additional_target": ("embed_tokens", "lm_head")},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return make_tiny("llama", tmp_path_factory.mktemp("adapters") / "base")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> MakeAdapter:
    """Trains an adapter for a few steps; its folder, and what the model answers with it."""

    def make(name: str, seed: int = 0, **options: Any) -> tuple[Path, torch.Tensor]:
        tuner = LoraTuner(hand_plan(LoraOptions(**options), learning_rate=1e-2, seed=1))
        torch.manual_seed(seed)
        model = tuner.apply(AutoModelForCausalLM.from_pretrained(base))
        optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
        for step in range(3):
            torch.manual_seed(100 * seed + step)
            ids = torch.randint(5, 500, (2, 16))
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        folder = tmp_path / name
        folder.mkdir()
        tuner.save(model.eval(), folder)
        with torch.no_grad():
            return folder, model(input_ids=IDS).logits

    return make


def export(*words: str) -> None:
    assert main(["export", "--quiet", *words]) == 0


def answer(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=IDS).logits


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_exported_adapter_answers_the_same(variant: str, base: Path, adapter: MakeAdapter, tmp_path: Path) -> None:
    """From the adapter's folder alone: it knows its base."""
    folder, expected = adapter("learned", **VARIANTS[variant])
    assert not torch.allclose(answer(base), expected, atol=1e-3)
    export(f"model_name_or_path={folder}", f"export_dir={tmp_path / 'out'}")
    assert torch.allclose(answer(tmp_path / "out"), expected, atol=1e-4)
    (merge,) = json.loads((tmp_path / "out" / "export_report.json").read_text())["adapters"]
    assert (merge["adapter"], merge["tuner"], merge["gap"]["equal_tokens"]) == ("learned", "lora", 1.0)


def test_two_adapters_are_both_in_the_export(base: Path, adapter: MakeAdapter, tmp_path: Path) -> None:
    """Their updates add up, so the order does not matter; leaving one out does."""
    first, second = adapter("first", seed=1)[0], adapter("second", seed=2)[0]
    for name, adapters in {"both": f"{first},{second}", "turned": f"{second},{first}", "one": str(first)}.items():
        export(f"model_name_or_path={base}", f"adapter_name_or_path={adapters}", f"export_dir={tmp_path / name}")
    assert torch.allclose(answer(tmp_path / "both"), answer(tmp_path / "turned"), atol=1e-4)
    assert not torch.allclose(answer(tmp_path / "both"), answer(tmp_path / "one"), atol=1e-3)


def test_experts_are_exported_in_the_layout_of_their_family(tmp_path: Path) -> None:
    """A mixture of experts, fused in memory, is written as its checkpoints are and read back the same."""
    make_tiny("qwen3-moe", tmp_path / "base")
    export(f"model_name_or_path={tmp_path / 'base'}", f"export_dir={tmp_path / 'out'}")
    assert torch.equal(answer(tmp_path / "out"), answer(tmp_path / "base"))
