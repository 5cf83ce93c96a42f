"""GGUF files, written for real and loaded back by transformers, or held tensor by tensor against the model."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader, dequantize
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
)
from tunesmith import TunesmithError
from tunesmith.host_options import ModelOptions
from tunesmith.plan import ModelWish, Plan
from tunesmith.runtime.tiny import make_tiny
from tunesmith.testing import PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_gguf.exporter import GgufExporter
from tunesmith_gguf.options import GgufOptions
from tunesmith_gguf.plugin import tunesmith_check_plan

ModelOf = Callable[[str], Path]
IDS = torch.arange(300, 320)[None]
SENTENCE = "Hello, Ada's 3 cats! Grüße 你好\n\n  two"


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> ModelOf:
    """Tiny models of each kind, in float32, made once."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(family) / family
            made[family] = make_tiny("gemma3" if family in ("gemma", "gemma2") else family, folder)
            if family in ("gemma", "gemma2"):
                _older_gemma(family, folder)
        return made[family]

    return make


def _older_gemma(family: str, folder: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 2048}
    sizes |= {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512}
    torch.manual_seed(0)
    model = GemmaForCausalLM(GemmaConfig(**sizes)) if family == "gemma" else Gemma2ForCausalLM(Gemma2Config(**sizes))
    model.save_pretrained(folder)


def plan_for(folder: Path, **options: Any) -> Plan:
    from dataclasses import replace

    plan = hand_plan(
        GgufOptions(**options), ModelOptions(model_name_or_path=str(folder)), picked={"exporters": "gguf"}, command="export"
    )
    return replace(plan, models={"policy": ModelWish("policy", str(folder))})


def export(folder: Path, out: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    out.mkdir(exist_ok=True)
    plan = plan_for(folder, **options)
    report = dict(GgufExporter(plan).export(plan, out))
    return out / next(iter(report["files"])), report


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


class TestPlugin(PluginSuite):
    plugin = "gguf"


FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3")


@pytest.mark.parametrize(
    ("family", "wanted", "most"),
    [
        *((family, "f16", 2e-3) for family in FAMILIES),
        *((family, "q8_0", 5e-2) for family in FAMILIES),
        ("llama", "f32", 1e-5),
        ("llama", "bf16", 2e-2),
    ],
)
def test_transformers_loads_it_back_and_it_answers_the_same(
    family: str, wanted: str, most: float, model_of: ModelOf, tmp_path: Path
) -> None:
    """The differences are those of the format, as a share of the logits' spread."""
    file, report = export(model_of(family), tmp_path, gguf_type=wanted)
    plain = logits(AutoModelForCausalLM.from_pretrained(model_of(family)))
    # transformers takes every Qwen3 for one with heads of 128, and gives Gemma 3 one rotation in all its layers.
    own = {"config": AutoConfig.from_pretrained(model_of(family))} if family in ("qwen3", "gemma3") else {}
    if family == "mistral":  # transformers knows a file of this name by no architecture; without a window it is a Llama
        own = {"config": LlamaConfig(**{**AutoConfig.from_pretrained(model_of(family)).to_dict(), "model_type": "llama"})}
    again = logits(AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32, **own))
    apart = float((again - plain).square().mean().sqrt() / plain.std())
    assert apart < most
    assert report["largest_difference"] < 1e-2


def test_gemma_s_first_generation_is_the_same_tensor_by_tensor(model_of: ModelOf, tmp_path: Path) -> None:
    """transformers reads no such file back; norms are shifted, the rest is as it was."""
    file, _ = export(model_of("gemma"), tmp_path, gguf_type="f32")
    held = {t.name: dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]) for t in GGUFReader(file).tensors}
    state = AutoModelForCausalLM.from_pretrained(model_of("gemma")).state_dict()
    assert np.array_equal(held["blk.1.ffn_up.weight"], state["model.layers.1.mlp.up_proj.weight"].numpy())
    assert np.array_equal(held["blk.0.attn_q.weight"], state["model.layers.0.self_attn.q_proj.weight"].numpy())
    assert np.allclose(held["output_norm.weight"], state["model.norm.weight"].numpy() + 1)
    assert len(held) == len(state) - 1, "the shared output head is left out"


@pytest.mark.parametrize(("family", "pre"), [("llama", "llama-bpe"), ("qwen3", "qwen2"), ("mistral", "default")])
def test_the_tokenizer_and_the_template_come_along(family: str, pre: str, model_of: ModelOf, tmp_path: Path) -> None:
    file, _ = export(model_of(family), tmp_path)
    fields = GGUFReader(file).fields
    assert fields["general.name"].contents() == family
    own = AutoTokenizer.from_pretrained(model_of(family))
    assert fields["tokenizer.ggml.pre"].contents() == pre
    assert fields["tokenizer.chat_template"].contents() == (model_of(family) / "chat_template.jinja").read_text()
    assert fields["tokenizer.ggml.eos_token_id"].contents() == own.eos_token_id
    tokens = fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == 2048
    assert tokens[: len(own)] == own.convert_ids_to_tokens(range(len(own)))
    begun = own("a").input_ids[0] == own.bos_token_id
    assert fields["tokenizer.ggml.add_bos_token"].contents() is begun
    if family != "mistral":
        read = AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
        ids = own(SENTENCE, add_special_tokens=False).input_ids
        assert read(SENTENCE, add_special_tokens=False).input_ids == ids


def test_stretched_positions_are_said(model_of: ModelOf, tmp_path: Path) -> None:
    """Llama 3's by a tensor of factors, equal to what transformers divides its frequencies by."""
    import shutil

    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    shutil.copytree(model_of("llama"), tmp_path / "long")
    config = json.loads((tmp_path / "long" / "config.json").read_text())
    stretch = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    stretch |= {"original_max_position_embeddings": 64, "rope_theta": 500000.0}
    (tmp_path / "long" / "config.json").write_text(json.dumps({**config, "rope_parameters": stretch}))
    file, _ = export(tmp_path / "long", tmp_path / "out")
    (factors,) = [tensor.data for tensor in GGUFReader(file).tensors if tensor.name == "rope_freqs.weight"]
    theirs, _ = ROPE_INIT_FUNCTIONS["llama3"](AutoConfig.from_pretrained(tmp_path / "long"), "cpu")
    plain = 500000.0 ** -(torch.arange(0, 16, 2) / 16)
    assert np.allclose(plain.numpy() / factors, theirs.numpy(), rtol=1e-5)


def test_what_float16_cannot_hold_is_an_error(model_of: ModelOf, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_of("llama"))
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    import shutil

    shutil.copytree(model_of("llama"), tmp_path / "large")
    model.save_pretrained(tmp_path / "large")
    with pytest.raises(TunesmithError) as caught:
        export(tmp_path / "large", tmp_path / "out")
    assert "gguf_type: bf16" in caught.value.hint


def test_a_tokenizer_that_llama_cpp_does_not_know_is_an_error(model_of: ModelOf, tmp_path: Path) -> None:
    """Unless the user names its way of splitting texts."""
    import shutil

    shutil.copytree(model_of("qwen3"), tmp_path / "odd")
    text = (tmp_path / "odd" / "tokenizer.json").read_text()
    (tmp_path / "odd" / "tokenizer.json").write_text(text.replace("|'ve|", "|'vf|"))
    with pytest.raises(TunesmithError, match=r"no known name in llama\.cpp"):
        export(tmp_path / "odd", tmp_path / "out")
    file, _ = export(tmp_path / "odd", tmp_path / "out", gguf_pre_tokenizer="qwen2")
    assert GGUFReader(file).fields["tokenizer.ggml.pre"].contents() == "qwen2"


# -- what a plan says ----------------------------------------------------------------------------------------------------


def problems(folder: Path, **options: Any) -> str:
    return "\n".join(str(problem) for problem in tunesmith_check_plan(plan_for(folder, **options)))


def test_what_cannot_be_written_is_found_while_planning(
    model_of: ModelOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert not problems(model_of("llama"))
    assert "there is no q4_k_n" in problems(model_of("llama"), gguf_type="q4_k_n")
    assert "llama-quantize of llama.cpp, which is not on the path" in problems(model_of("llama"), gguf_type="Q4_K_M")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    assert "models of type mamba cannot be written" in problems(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "rope_scaling": {"rope_type": "longrope"}}))
    assert "stretched by longrope" in problems(tmp_path)


#: Stands for llama.cpp's tool, which is not here: it takes the same words, and copies instead of quantising.
STAND_IN = """#!{python}
import shutil, sys
source, target, kind = sys.argv[1:]
if kind == "Q6_K":
    sys.exit("main: failed to quantize model")
shutil.copyfile(source, target)
"""


def test_further_formats_are_made_by_llama_cpp_s_tool(
    model_of: ModelOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a file in f16, the name of the new one and the format; what it complains of is passed on."""
    tool = tmp_path / "bin" / "llama-quantize"
    tool.parent.mkdir()
    tool.write_text(STAND_IN.format(python=sys.executable))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tool.parent))
    assert not problems(model_of("llama"), gguf_type="q4_k_m")
    file, _ = export(model_of("llama"), tmp_path / "out", gguf_type="q4_k_m")
    assert [found.name for found in (tmp_path / "out").glob("*.gguf")] == [file.name] == ["model-q4_k_m.gguf"]
    with pytest.raises(TunesmithError, match="failed to quantize model"):
        export(model_of("llama"), tmp_path / "more", gguf_type="q6_k")


def test_the_command_merges_and_writes_it(model_of: ModelOf, tmp_path: Path) -> None:
    """Nothing but the file, what belongs to it, and no trace of the merged model."""
    from tunesmith.cli.main import main

    pytest.importorskip("tunesmith_export", reason="the command is another package's")
    keys = [f"model_name_or_path={model_of('llama')}", f"export_dir={tmp_path / 'out'}", "export_format=gguf", "gguf_type=q8_0"]
    assert main(["export", *keys, "--quiet"]) == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"model-q8_0.gguf", "README.md", "export_report.json"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "llama-cli -m model-q8_0.gguf" in card
    assert "library_name: gguf" in card
    assert GGUFReader(tmp_path / "out" / "model-q8_0.gguf").fields["general.name"].contents() == "out"
