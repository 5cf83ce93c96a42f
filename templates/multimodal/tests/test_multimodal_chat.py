"""Pictures in the command `chat`: the model that has learned colours is shown some."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tunesmith import api
from tunesmith.cli.main import main
from tunesmith.data.conversation import Media
from tunesmith.testing.small_pictures import ASKED

WORDS = ("template=qwen2_vl", "do_sample=false", "max_new_tokens=6")


def test_a_picture_of_the_command_line_is_seen(place: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once shown, it is part of the conversation; files may lie anywhere."""
    files = [place / "pictures" / row["images"][0] for row in json.loads((place / "held.json").read_text())[:2]]
    line = ["chat", f"model_name_or_path={trained}", *WORDS, "--prompt", ASKED, "--prompt", ASKED]
    config = {"model_name_or_path": str(trained), "template": "qwen2_vl", "do_sample": False, "max_new_tokens": 6}
    for file in files:
        capsys.readouterr()
        assert main([*line, "--image", str(file)]) == 0
        with api.Chat(config) as chat:
            wanted = [chat.ask(ASKED, [Media("image", str(file), file.read_bytes())]), chat.ask(ASKED)]
        assert capsys.readouterr().out.splitlines() == wanted


def test_what_is_no_picture_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = trained / "config.json"
    assert main(["chat", f"model_name_or_path={trained}", *WORDS, "--image", str(file), "--prompt", ASKED]) == 2
    said = capsys.readouterr()
    assert "config.json" in said.err
    assert "is no image" in said.err
    assert said.out == ""


def test_an_export_sees_as_well_and_a_lack_of_its_processor_is_said(
    place: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / "pictures" / json.loads((place / "held.json").read_text())[0]["images"][0]
    out = tmp_path / "out"
    assert main(["export", f"model_name_or_path={trained}", "template=qwen2_vl", f"export_dir={out}"]) == 0
    kept = {path.name for path in trained.glob("*processor*.json")}
    assert kept
    for name in kept:
        assert json.loads((out / name).read_text()) == json.loads((trained / name).read_text())
    answers = []
    for model in (trained, out):
        capsys.readouterr()
        assert main(["chat", f"model_name_or_path={model}", *WORDS, "--image", str(file), "--prompt", ASKED]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    for name in kept:
        (out / name).unlink()
    assert main(["chat", f"model_name_or_path={out}", *WORDS, "--image", str(file), "--prompt", ASKED]) == 2
    assert "reads text only" in capsys.readouterr().err


def test_an_adapter_that_brings_a_tokenizer_and_no_processor_is_exported_with_its_models(trained: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from torch import nn
    from transformers import AutoModelForImageTextToText

    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(trained), LoraConfig(r=2, target_modules=["down_proj"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.02)
    model.save_pretrained(tmp_path / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "adapter" / name).write_bytes((trained / name).read_bytes())
    words = [f"adapter_name_or_path={tmp_path / 'adapter'}", "template=qwen2_vl", "export_verify=false"]
    assert main(["export", f"model_name_or_path={trained}", *words, f"export_dir={tmp_path / 'out'}"]) == 0
    kept = {path.name for path in trained.glob("*processor*.json")}
    assert kept == {path.name for path in (tmp_path / "out").glob("*processor*.json")}


def test_lines_of_a_batch_may_hold_pictures_of_one_folder(
    place: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = json.loads((place / "held.json").read_text())[:4]
    names = [row["images"][0] for row in held] + ["../held.json", "gone.png"]
    lines = [[{"type": "image", "image": name}, {"type": "text", "text": ASKED}] for name in names]
    asked = [json.dumps({"messages": [{"role": "user", "content": content}]}) for content in lines]
    (tmp_path / "asked.jsonl").write_text("\n".join(asked))
    words = [f"model_name_or_path={trained}", f"media_dir={place / 'pictures'}", *WORDS]
    assert main(["batch", str(tmp_path / "asked.jsonl"), str(tmp_path / "said.jsonl"), *words]) == 0
    said = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    right = [line["text"].strip() == row["messages"][1]["content"] for line, row in zip(said, held, strict=False)]
    assert sum(right) >= 3
    assert "lies outside" in said[4]["error"]["message"]
    assert "gone.png" in said[5]["error"]["message"]
