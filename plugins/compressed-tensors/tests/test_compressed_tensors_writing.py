"""Models quantised by GPTQ and AWQ and to fp8: planned everywhere, and done for real where the stack can be built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from tunesmith.cli.main import main
from tunesmith.runtime.tiny import make_tiny

IDS = torch.arange(5, 25)[None]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model wide enough for groups of 128 weights, and data beside it."""
    folder = tmp_path_factory.mktemp("wide")
    (folder / "data").mkdir()
    (folder / "data" / "dataset_info.json").write_text('{"talk": {"file_name": "talk.jsonl", "formatting": "openai"}}')
    rows = (
        [
            {"role": "user", "content": f"Where is number {n}?"},
            {"role": "assistant", "content": f"It is in house {n * 7}. " * 4},
        ]
        for n in range(24)
    )
    (folder / "data" / "talk.jsonl").write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    return make_tiny("qwen3", folder / "model", hidden=128, intermediate=256)


def keys(wide: Path, out: Path, *more: str) -> list[str]:
    data = f"dataset_dir={wide.parent / 'data'}"
    return [f"model_name_or_path={wide}", "template=qwen3", f"export_dir={out}", data, *more]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["export_quantization_bit=4"], "gptq looks at data to quantise by, and export_quantization_dataset names none"),
        (["export_quantization_bit=4", "export_quantization_dataset=tlk"], "tlk"),
        (["export_quantization_bit=4", "export_quantization_dataset=talk"], "tunesmith stack create llm-compressor"),
        (["export_quantization_bit=8", "quantization_method=fp8"], "tunesmith stack create llm-compressor"),
        (["export_quantization_bit=3", "export_quantization_dataset=talk"], "gptq (4 or 8), awq (4), fp8 (8)"),
        (["export_quantization_bit=8", "quantization_method=awq", "export_quantization_dataset=talk"], "awq (4)"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_loaded(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    monkeypatch.setenv("TUNESMITH_STACKS", str(tmp_path / "stacks"))
    assert main(["export", *keys(wide, tmp_path / "out", *more)]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_is_looked_at_by_who_asks_for_it_only(wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["export_quantization_bit=8", "quantization_method=fp8", "export_quantization_dataset=talk"]
    main(["plan", "--for", "export", *keys(wide, tmp_path / "out", *more)])
    assert "export_quantization_dataset is not read" in capsys.readouterr().out


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack, made by its own command; more than a gigabyte."""
    folder = tmp_path_factory.mktemp("stacks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_STACKS", str(folder))
        if main(["stack", "create", "llm-compressor"]) != 0:
            pytest.skip("the package index here does not have what the stack needs")
    return folder


@pytest.mark.long
@pytest.mark.parametrize(("method", "bits", "most"), [("gptq", 4, 0.4), ("gptq", 8, 0.05), ("awq", 4, 0.4), ("fp8", 8, 0.15)])
def test_a_model_is_quantised_in_the_stack_and_reads_back(
    stack: Path, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, bits: int, most: float
) -> None:
    """transformers alone reads what was written, near to the plain model's answers."""
    monkeypatch.setenv("TUNESMITH_STACKS", str(stack))
    out = tmp_path / "out"
    data = ["export_quantization_dataset=talk", "export_quantization_nsamples=16", "export_quantization_maxlen=64"]
    more = [f"export_quantization_bit={bits}", f"quantization_method={method}", *(data if method != "fp8" else ())]
    assert main(["export", *keys(wide, out, *more), "--quiet"]) == 0
    report = json.loads((out / "export_report.json").read_text())
    assert (report["quantizer"], report["bits"], report["verified"]) == (method, bits, True)
    assert report["calibrated_on"] == (0 if method == "fp8" else 16)
    assert f"quantised to {bits} bits by {method}" in (out / "README.md").read_text()
    plain = logits(wide)
    assert 0 < float((logits(out) - plain).square().mean().sqrt() / plain.std()) < most
    assert {"tokenizer.json", "chat_template.jinja", "generation_config.json"} <= {file.name for file in out.iterdir()}
    smaller = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    assert smaller < 0.75 * sum(file.stat().st_size for file in wide.glob("*.safetensors"))


@pytest.mark.long
def test_what_llm_compressor_says_when_it_fails_is_told(
    stack: Path, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.errors import TunesmithError
    from tunesmith_compressed_tensors.stack import run_in_stack

    monkeypatch.setenv("TUNESMITH_STACKS", str(stack))
    job = {
        "method": "gptq",
        "bits": 4,
        "model": str(tmp_path / "none"),
        "out": str(tmp_path / "out"),
        "size": "5GB",
        "rows": [],
    }
    with pytest.raises(TunesmithError, match="could not quantise") as caught:
        run_in_stack(job)
    assert "none" in caught.value.hint


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=IDS).logits.float()
