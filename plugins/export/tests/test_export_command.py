"""``tunesmith export`` from the command line: what it writes, what it says, and what it refuses before it loads anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tunesmith.cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the tiny model in ``base``."""
    shutil.copytree(base, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_a_model_is_exported(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--model_name_or_path", "base", "--export_dir", "out"]) == 0
    assert capsys.readouterr().out.startswith("out: 336,192 parameters in float32")
    report = json.loads((here / "out" / "export_report.json").read_text())
    assert report["verified"] is True
    assert not [path.name for path in here.iterdir() if "staging" in path.name]


def test_it_reads_a_configuration_and_overrides(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "export.yaml").write_text("model_name_or_path: base\nexport_dir: out\nexport_size: 2\n")
    assert main(["export", "export.yaml", "infer_dtype=bfloat16", "--no-verify", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    report = json.loads((here / "out" / "export_report.json").read_text())
    assert (report["dtype"], report["verified"]) == ("bfloat16", False)


def test_what_a_training_uploads_is_pointed_out_and_not_done(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file may say how to train and how to export."""
    (here / "run.yaml").write_text("model_name_or_path: base\nexport_dir: out\npush_to_hub: true\nhub_token: hf_secret\n")
    assert main(["export", "run.yaml", "--no-verify"]) == 0
    said = capsys.readouterr()
    assert "note: push_to_hub (run.yaml:3) is not used by this run" in said.err
    assert "note: hub_token (run.yaml:4) is not used by this run" in said.err
    assert "uploaded" not in said.out
    assert "hf_secret" not in said.err + said.out


def full(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "precious").write_text("mine")


def quantised(here: Path) -> None:
    config = json.loads((here / "base" / "config.json").read_text())
    (here / "base" / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))


def nothing(here: Path) -> None:
    pass


MODEL, OUT, TORCHAO = "--model_name_or_path=base", "--export_dir=out", "--quantization_method=torchao"

#: Preparation, command line, and parts of what the user reads.
REFUSED: dict[str, tuple[Callable[[Path], None], list[str], str, str]] = {
    "no folder": (nothing, [MODEL], "export_dir is not given", "write export_dir: …"),
    "no model": (nothing, [OUT], "model_name_or_path is not given", "write model_name_or_path: …"),
    "full folder": (full, [MODEL, OUT], "out already holds something", "new or empty"),
    "quantised": (quantised, [MODEL, OUT], "holds weights quantised by gptq", "Give the model they were made from"),
    "bits": (nothing, [MODEL, OUT, "--quantization_bit=4"], "cannot be merged into quantised weights", "Leave out"),
    "size": (nothing, [MODEL, OUT, "--export_size=0"], "export_size", "at least 1"),
    "legacy": (nothing, [MODEL, OUT, "--export_legacy_format"], "export_legacy_format is not supported", "safetensors"),
    "gptq": (nothing, [MODEL, OUT, "--export_quantization_bit=4"], "gptq", ""),
    "no such bits": (nothing, [MODEL, OUT, "--export_quantization_bit=3", TORCHAO], "can write 4 or 8 bits", TORCHAO[2:13]),
    "no kernels": (nothing, [MODEL, OUT, "--export_quantization_bit=4", TORCHAO], "by cutlass kernels, which do not run", ""),
    "hub": (nothing, [MODEL, OUT, "--export_hub_model_id=a/b"], "the hub is switched off", "Unset HF_HUB_OFFLINE"),
    "hub branch": (nothing, [MODEL, OUT, "--export_hub_revision=v1"], "nothing is uploaded", "Write export_hub_model_id"),
    "hub name": (nothing, [MODEL, OUT, "--export_hub_model_id=a/b/c"], "is no name of the hub", "organisation/name"),
    "training's hub": (
        nothing,
        [MODEL, OUT, "--hub_model_id=a/b"],
        "about what a training uploads",
        "Write export_hub_model_id",
    ),
    "training's token": (nothing, [MODEL, OUT, "--hub_token=x"], "hub_token is about what a training", "Write hf_hub_token"),
    "training's plan": (nothing, [MODEL, OUT, "--hub_strategy=end"], "hub_strategy is about what a training", "Leave it out"),
    "form": (nothing, [MODEL, OUT, "--export_format=safetensor"], "no exporter 'safetensor'", "Did you mean 'safetensors'?"),
    "no adapter": (nothing, [MODEL, OUT, "--adapter_name_or_path=gone"], "there is no folder gone", ""),
    "a model as adapter": (nothing, [MODEL, OUT, "--adapter_name_or_path=base"], "bears no mark", "An adapter's folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused(
    case: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 2, what is wrong and what to write, before weights are read; nothing is written or lost."""
    monkeypatch.setattr("tunesmith.runtime.loading.read_weights", lambda *_, **__: pytest.fail("weights were read"))
    prepare, words, what, instead = REFUSED[case]
    prepare(here)
    before = sorted(str(path) for path in here.rglob("*"))
    assert main(["export", *words]) == 2
    said = capsys.readouterr().err
    assert what in said
    assert instead in said
    assert sorted(str(path) for path in here.rglob("*")) == before
