"""Merging layer by layer: the same files as merging the whole model gives, without holding it; and what cannot be done so."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tunesmith import TunesmithError
from tunesmith.cli.main import main
from tunesmith.plan import Plan
from tunesmith_export import weight_files
from tunesmith_export.exporter import SafetensorsExporter
from tunesmith_export.weight_files import Weight, WeightFiles, write

pytest.importorskip("tunesmith_lora", reason="its adapters are the ones that can be merged layer by layer")

PlanOf = Callable[..., Plan]
LoraOf = Callable[..., Path]
FORCE = "tunesmith_export.exporter.whole_model_reason"


@pytest.fixture
def lora(base: Path, tmp_path: Path) -> LoraOf:
    """Makes adapters with random factors on the tiny model, as peft saves them."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def make(name: str, *, scale: float = 0.02, **config: Any) -> Path:
        torch.manual_seed(len(name))
        given = {"r": 4, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**{**given, **config}))
        tuned.save_pretrained(tmp_path / name, save_embedding_layers=False)
        file = tmp_path / name / "adapter_model.safetensors"
        factors = load_file(file)
        save_file(
            {key: torch.randn(factor.shape) * scale if "lora_B" in key else factor for key, factor in factors.items()},
            file,
            {"format": "pt"},
        )
        return tmp_path / name

    return make


def export(plan: Plan, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return dict(SafetensorsExporter(plan).export(plan, folder))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = WeightFiles(folder)
    return {weight.name: found.read(weight.name) for weight in found.weights}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layer_by_layer_gives_what_the_whole_model_gives(
    dtype: str, plan_of: PlanOf, lora: LoraOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, with two adapters of which the second touches layers that the first has changed, and two that it has not."""
    adapters = lora("first"), lora("second", use_dora=True, target_modules=["q_proj", "up_proj"])
    plan = plan_of(*adapters, infer_dtype=dtype, export={"export_verify": False})
    report = export(plan, tmp_path / "layers")
    monkeypatch.setattr(FORCE, lambda *_: "for the test")
    export(plan, tmp_path / "whole")
    ours, theirs = weights(tmp_path / "layers"), weights(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(ours[name].dtype is theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [merge["weights"] for merge in report["adapters"]] == [4, 4]
    assert all(0 < merge["moved"] < 1 for merge in report["adapters"])
    for name in ("config.json", "generation_config.json"):
        one, other = (json.loads((tmp_path / folder / name).read_text()) for folder in ("layers", "whole"))
        assert one == other


def test_the_model_is_never_loaded(plan_of: PlanOf, lora: LoraOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.runtime.loading.read_weights", lambda *_, **__: pytest.fail("the model was loaded"))
    report = export(plan_of(lora("learned"), export={"export_verify": False}), tmp_path / "out")
    assert (report["whole"], report["verified"]) == ("", False)
    assert "changed 4 weights by" in (tmp_path / "out" / "README.md").read_text()


def test_verified_it_answers_as_the_adapter_did(plan_of: PlanOf, lora: LoraOf, tmp_path: Path) -> None:
    """What was merged layer by layer is read back and held against the adapter on a model in memory."""
    report = export(plan_of(lora("learned")), tmp_path / "out")
    (merge,) = report["adapters"]
    assert (report["whole"], merge["weights"]) == ("", 4)
    assert report["read_back"]["typical"] < 1e-6
    assert merge["gap"]["equal_tokens"] == 1.0


def test_a_merge_that_changes_nothing_or_too_much_is_an_error(plan_of: PlanOf, lora: LoraOf, tmp_path: Path) -> None:
    """Also where answers are not compared."""
    quick = {"export_verify": False}
    with pytest.raises(TunesmithError, match="changes no weight"):
        export(plan_of(lora("nothing", scale=0.0), export=quick), tmp_path / "out")
    with pytest.raises(TunesmithError, match=r"changes the weights by .* of what they are"):
        export(plan_of(lora("far", scale=1e3), export=quick), tmp_path / "out2")
    with pytest.raises(TunesmithError, match=r"cannot be merged into model\.layers"):
        export(plan_of(lora("broken", scale=float("inf")), export=quick), tmp_path / "out3")


def test_modules_in_full_take_the_place_of_the_base_s(plan_of: PlanOf, lora: LoraOf, tmp_path: Path) -> None:
    adapter = lora("learned", modules_to_save=["lm_head"])
    file = adapter / "adapter_model.safetensors"
    held = load_file(file)
    held["base_model.model.lm_head.weight"] += 0.005
    save_file(held, file, {"format": "pt"})
    export(plan_of(adapter, export={"export_verify": False}), tmp_path / "out")
    assert torch.equal(weights(tmp_path / "out")["lm_head.weight"], held["base_model.model.lm_head.weight"])


def test_what_needs_the_whole_model_says_why(plan_of: PlanOf, lora: LoraOf, tmp_path: Path) -> None:
    """A shared weight is found when the model is looked at; an adapter that moved weights by its folder."""
    adapter = lora("moved")
    save_file({"x": torch.zeros(1)}, adapter / "lora_start.safetensors")
    from tunesmith_export.checks import notices

    said = [notice.what for notice in notices(plan_of(adapter))]
    assert said == [f"the whole model is held in memory to merge it: the adapter in {adapter} moved a part of the model's "
                    "weights, which has to be taken out again first"]  # fmt: skip
    (said_of_others,) = notices(plan_of(lora("learned")))
    assert "to verify the merge" in said_of_others.what
    assert not list(notices(plan_of(lora("quick"), export={"export_verify": False})))


def test_a_folder_with_an_adapter_stands_for_its_model(lora: LoraOf, base: Path, tmp_path: Path, capsys: Any) -> None:
    """Its base is read from it, and it is merged."""
    lora("learned")
    assert main(["export", f"model_name_or_path={tmp_path / 'learned'}", f"export_dir={tmp_path / 'out'}", "--no-verify"]) == 0
    said = capsys.readouterr().out
    assert "merged learned (lora) into 4 weights" in said
    assert "answers were not compared" in said
    changed = weights(tmp_path / "out")["model.layers.0.self_attn.q_proj.weight"]
    assert not torch.equal(changed, weights(base)["model.layers.0.self_attn.q_proj.weight"])


# -- the files -----------------------------------------------------------------------------------------------------------


def test_files_are_what_the_library_reads_and_no_two_weights_are_held(tmp_path: Path) -> None:
    """Cut into files of the wished size, in any mixture of formats, each weight let go before the next one is asked for."""
    made = {
        f"w{n}": torch.randn(n + 1, 3).to(dtype) for n, dtype in enumerate((torch.bfloat16, torch.float32, torch.float16) * 3)
    }
    made["scalar"], made["numbers"] = torch.tensor(2.5), torch.arange(5)
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()

    def value(name: str) -> torch.Tensor:
        assert len(alive) <= 1
        fresh = made[name].clone()
        alive.add(fresh)
        return fresh

    write([Weight(name, tuple(w.shape), w.dtype) for name, w in made.items()], value, tmp_path, most=150)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    read = {}
    for file in files:
        with safe_open(file, "pt") as held:
            assert held.metadata() == {"format": "pt"}
            read |= {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        assert sum(w.nbytes for name, w in load_file(file).items()) <= 150
    assert read.keys() == made.keys()
    assert all(read[name].dtype is w.dtype and torch.equal(read[name], w) for name, w in made.items())
    index = json.loads((tmp_path / weight_files.INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(w.nbytes for w in made.values())
    assert {weight.name for weight in WeightFiles(tmp_path).weights} == set(index["weight_map"]) == set(made)
