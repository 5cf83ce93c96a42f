"""What an export writes is whole, answers as the adapter did, and is checked; what fails the check is not written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from tunesmith import TunesmithError
from tunesmith.plan import Plan
from tunesmith_export.exporter import SafetensorsExporter

PlanOf = Callable[..., Plan]
MakeAdapter = Callable[..., Path]
TEMPLATE = """
[acme]
system = "System: {system}\\n"
user = "User: {content}\\n"
prompt = "Model: "
reply = "{content}<|eot_id|>"
after = "\\n"
stop = ["<|eot_id|>"]
"""
IDS = torch.arange(5, 25)[None]


def export(plan: Plan, folder: Path) -> dict[str, object]:
    folder.mkdir()
    return dict(SafetensorsExporter(plan).export(plan, folder))


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=IDS).logits


def nudged(base: Path, *adapters: Path) -> torch.Tensor:
    """The logits that the merged model must have, by adding the matrices here."""
    from safetensors.torch import load_file

    model = AutoModelForCausalLM.from_pretrained(base).eval()
    with torch.no_grad():
        for adapter in adapters:
            model.model.layers[0].mlp.down_proj.weight.add_(load_file(adapter / "nudge.safetensors")["delta"])
        return model(input_ids=IDS).logits


def test_one_adapter_is_merged(plan_of: PlanOf, adapter: MakeAdapter, base: Path, tmp_path: Path) -> None:
    """The written model answers as the base with the adapter's matrix, and the report says how the check went."""
    learned = adapter("learned")
    report = export(plan_of(learned), tmp_path / "out")
    assert torch.allclose(logits(tmp_path / "out"), nudged(base, learned), atol=1e-5)
    (merge,) = report["adapters"]
    assert (merge["adapter"], merge["tuner"]) == ("learned", "nudge")
    assert merge["change"]["typical"] > 0.01
    assert merge["gap"]["typical"] < 1e-5
    assert merge["gap"]["equal_tokens"] == 1.0
    assert report["read_back"]["equal_tokens"] == 1.0


def test_adapters_are_merged_in_order(plan_of: PlanOf, adapter: MakeAdapter, base: Path, tmp_path: Path) -> None:
    """Each is reported with what it changed."""
    first, second = adapter("first"), adapter("second", seed=1)
    report = export(plan_of(first, second), tmp_path / "out")
    assert torch.allclose(logits(tmp_path / "out"), nudged(base, first, second), atol=1e-5)
    assert [merge["adapter"] for merge in report["adapters"]] == ["first", "second"]


def test_everything_is_beside_the_weights(plan_of: PlanOf, adapter: MakeAdapter, base: Path, tmp_path: Path) -> None:
    """Tokenizer, template, generation config, card and report, and nothing that needs unpickling."""
    out = tmp_path / "out"
    report = export(plan_of(adapter("learned")), out)
    names = {file.name for file in out.iterdir()}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert len({file.stat().st_mode for file in out.iterdir()}) == 1, "files that others cannot read"
    assert json.loads((out / "export_report.json").read_text()) == json.loads(json.dumps(report))
    ours, theirs = AutoTokenizer.from_pretrained(out), AutoTokenizer.from_pretrained(base)
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    assert ours.apply_chat_template(talk, tokenize=False) == theirs.apply_chat_template(talk, tokenize=False)
    assert ours.padding_side == "left"
    ends = GenerationConfig.from_pretrained(out).eos_token_id
    assert set(GenerationConfig.from_pretrained(base).eos_token_id) <= set(ends)
    assert report["omitted"].keys() == {"Modelfile"}, "the tokenizer's own template cannot be written for Ollama"
    card = (out / "README.md").read_text()
    assert card.startswith("---\nbase_model: base\n")
    assert "| learned: merged, and as an adapter |" in card
    assert str(tmp_path) not in card + json.dumps(report), "a path of this machine was published"


def test_a_named_template_is_written_for_ollama_too(plan_of: PlanOf, tmp_path: Path) -> None:
    """In the tokenizer, and in a Modelfile that points at the weights beside it."""
    (tmp_path / "acme.toml").write_text(TEMPLATE)
    plan = plan_of(template=str(tmp_path / "acme.toml"))
    report = export(plan, tmp_path / "out")
    assert report["omitted"] == {}
    modelfile = (tmp_path / "out" / "Modelfile").read_text()
    assert "FROM .\n" in modelfile
    assert 'PARAMETER stop "<|eot_id|>"' in modelfile
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") in GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    text = tokenizer.apply_chat_template(talk, tokenize=False)
    assert text == "User: Hello\nModel: Hi<|eot_id|>\n"


def test_a_model_without_adapters_is_written_as_it_is(plan_of: PlanOf, base: Path, tmp_path: Path) -> None:
    """For whole models that were trained: the same weights."""
    report = export(plan_of(), tmp_path / "out")
    assert torch.equal(logits(tmp_path / "out"), logits(base))
    assert report["adapters"] == []


def test_weights_are_cut_into_files_of_the_wished_size(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``export_size`` is in GB; here a GB is taken for fifty thousand bytes."""
    monkeypatch.setattr("tunesmith_export.weight_files.GB", 50_000)
    report = export(plan_of(export={"export_size": 2}), tmp_path / "out")
    assert len(report["files"]) > 1
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_weights_are_written_in_the_wished_format(dtype: str, plan_of: PlanOf, adapter: MakeAdapter, tmp_path: Path) -> None:
    """And the checks pass in it, although it rounds."""
    report = export(plan_of(adapter("learned"), infer_dtype=dtype), tmp_path / "out")
    assert report["dtype"] == dtype
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype is getattr(torch, dtype)


@pytest.mark.parametrize("how", ["forgets", "doubles"])
def test_a_merge_that_goes_wrong_is_an_error(how: str, plan_of: PlanOf, adapter: MakeAdapter, tmp_path: Path) -> None:
    """It changed nothing, or too much."""
    with pytest.raises(TunesmithError, match=r"does not answer as with the adapter .*wrong"):
        export(plan_of(adapter("wrong", how=how)), tmp_path / "out")


def test_generation_keys_that_were_given_are_written(plan_of: PlanOf, base: Path, tmp_path: Path) -> None:
    """Those that were not stay the model's own."""
    export(plan_of(generation={"temperature": 0.25}), tmp_path / "out")
    ours, theirs = GenerationConfig.from_pretrained(tmp_path / "out"), GenerationConfig.from_pretrained(base)
    assert ours.temperature == 0.25
    assert ours.do_sample is True
    assert ours.top_p == theirs.top_p


def test_greedy_generation_can_be_asked_for(plan_of: PlanOf, base: Path, tmp_path: Path) -> None:
    """Also of a model that says how to draw tokens, which transformers refuses to write beside it."""
    shutil.copytree(base, tmp_path / "drawing")
    own = {**json.loads((base / "generation_config.json").read_text()), "do_sample": True, "temperature": 0.6, "top_k": 20}
    (tmp_path / "drawing" / "generation_config.json").write_text(json.dumps(own))
    export(plan_of(path=tmp_path / "drawing"), tmp_path / "as_it_is")
    assert GenerationConfig.from_pretrained(tmp_path / "as_it_is").temperature == 0.6
    export(plan_of(path=tmp_path / "drawing", generation={"do_sample": False}), tmp_path / "greedy")
    greedy = GenerationConfig.from_pretrained(tmp_path / "greedy")
    assert (greedy.do_sample, greedy.temperature, greedy.top_k) == (False, None, None)


def test_an_adapter_that_learned_nothing_is_an_error(plan_of: PlanOf, adapter: MakeAdapter, tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="changes nothing"):
        export(plan_of(adapter("untrained", size=0.0)), tmp_path / "out")


def test_an_adapter_that_rounding_swallows_is_an_error(plan_of: PlanOf, adapter: MakeAdapter, tmp_path: Path) -> None:
    """Too small for bfloat16: the message says what to write. In float32 it is merged."""
    with pytest.raises(TunesmithError) as caught:
        export(plan_of(adapter("small", size=2e-5), infer_dtype="bfloat16"), tmp_path / "out")
    assert "infer_dtype: float32" in caught.value.hint
    export(plan_of(tmp_path / "small", infer_dtype="float32"), tmp_path / "better")


def test_an_adapter_that_is_no_number_is_an_error(plan_of: PlanOf, adapter: MakeAdapter, tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="no number"):
        export(plan_of(adapter("broken", size=float("inf"))), tmp_path / "out")


def test_what_cannot_be_merged_is_refused_before_weights_are_read(
    plan_of: PlanOf, adapter: MakeAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_export.exporter.load_base", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(TunesmithError, match="holds a fixed adapter, which cannot be merged"):
        export(plan_of(adapter("rigid", kind="fixed")), tmp_path / "out")


def test_unverified_exports_say_so(plan_of: PlanOf, adapter: MakeAdapter, tmp_path: Path) -> None:
    """Nothing is compared, so a wrong merge passes; the card says that nothing was."""
    report = export(plan_of(adapter("wrong", how="doubles"), export={"export_verify": False}), tmp_path / "out")
    assert report["verified"] is False
    assert "not compared" in (tmp_path / "out" / "README.md").read_text()


def test_what_is_written_wrongly_is_found(
    plan_of: PlanOf, adapter: MakeAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exported folder is read back and must answer the same."""
    from transformers import LlamaForCausalLM

    saved = LlamaForCausalLM.save_pretrained

    def spoil(model: LlamaForCausalLM, *args: object, **kwargs: object) -> None:
        with torch.no_grad():
            model.model.norm.weight.mul_(1.5)
        saved(model, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", spoil)
    with pytest.raises(TunesmithError, match="Read back"):
        export(plan_of(adapter("learned")), tmp_path / "out")
