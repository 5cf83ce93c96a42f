"""The command `chat` with a real, tiny model: plan, engine and answers."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tunesmith import api
from tunesmith.cli.main import main
from tunesmith.runtime.tiny import make_tiny

from .pseudo_terminal import CTRL_C, CTRL_D, ENTER, Terminal

QUICK = ("do_sample=false", "max_new_tokens=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("chat") / "model")


def talk(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What one command line prints; it must succeed."""
    capsys.readouterr()
    assert main(["chat", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_prompt_prints_the_answer_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = talk(capsys, "--model_name_or_path", folder, *QUICK, "--prompt", "Who are you?")
    with api.Chat({"model_name_or_path": str(folder), "do_sample": False, "max_new_tokens": 8}) as chat:
        assert out == chat.ask("Who are you?") + "\n"
    assert out.strip()


def test_a_file_and_overrides_are_read_as_in_training(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"model_name_or_path: {folder}\nstage: sft\nmax_new_tokens: 50\ndo_sample: false\nlearning_rate: 1.0e-4\n")
    answer = json.loads(talk(capsys, file, "--max_new_tokens", "3", "--json", "--prompt", "Hi"))
    assert answer["finish"] == "length"
    whole = json.loads(talk(capsys, file, "--max_new_tokens", "6", "--json", "--prompt", "Hi"))
    assert whole["text"].startswith(answer["text"])
    assert len(whole["text"]) > len(answer["text"])


def test_piped_lines_are_turns(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\nAnd you?\n/clear\nHi\n"))
    first, second, again = map(json.loads, talk(capsys, f"model_name_or_path={folder}", *QUICK, "--json").splitlines())
    assert first == again
    assert second["prompt"] == "And you?"


def test_the_system_prompt_reaches_the_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (f"model_name_or_path={folder}", *QUICK, "--prompt", "Hi")
    assert talk(capsys, *words) != talk(capsys, *words, "--system", "Answer in French, always.")


def test_a_folder_with_an_adapter_finds_its_base(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tunesmith_lora")
    adapter = make_adapter(folder, tmp_path / "adapter")
    words = (*QUICK, "--prompt", "Who are you?")
    alone = talk(capsys, f"model_name_or_path={adapter}", *words)
    assert alone == talk(capsys, f"model_name_or_path={folder}", f"adapter_name_or_path={adapter}", *words)
    assert alone != talk(capsys, f"model_name_or_path={folder}", *words)


def make_adapter(folder: Path, out: Path) -> Path:
    """An adapter that changes what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=4, target_modules=["q_proj", "down_proj"])
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(out)
    return out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--prompt", "x"], "model_name_or_path is not given"),
        (["model_name_or_path=./no/such", "--prompt", "x"], "no folder"),
        (["model_name_or_path={folder}", "template=lama3", "--prompt", "x"], "no template 'lama3'"),
        (["model_name_or_path={folder}", "temprature=1", "--prompt", "x"], "temperature"),
        (["model_name_or_path={folder}", "infer_backend=huging", "--prompt", "x"], "huggingface"),
        (["model_name_or_path={folder}", "adapter_name_or_path={folder}", "--prompt", "x"], "bears no mark"),
        (["model_name_or_path={folder}", "--tools", "no.json", "--prompt", "x"], "no.json cannot be read"),
        (["model_name_or_path={folder}", "--image", "no.png", "--prompt", "x"], "no.png cannot be read"),
        (["model_name_or_path={folder}", "--image", "{folder}/config.json", "--prompt", "x"], "this one reads text only"),
        (["model_name_or_path={folder}", "temperature=0", "--prompt", "x"], "temperature is 0.0"),
    ],
)
def test_a_mistake_is_said_on_standard_error(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["chat", *(word.format(folder=folder) for word in words)]) == 2
    out = capsys.readouterr()
    assert says in out.err
    assert out.out == ""
    assert "Traceback" not in out.err


def test_a_real_answer_can_be_stopped_in_a_terminal(folder: Path, tmp_path: Path) -> None:
    words = [f"model_name_or_path={folder}", "max_new_tokens=4000", "temperature=1.5", "top_p=1.0"]
    terminal = Terminal([sys.executable, "-m", "tunesmith.cli.main", "chat", *words], tmp_path / "state", tmp_path)
    try:
        terminal.wait_for("Ctrl-D leaves.", seconds=90)
        terminal.wait_for(">")
        terminal.press("Tell me everything." + ENTER)
        terminal.read_more(200)
        terminal.press(CTRL_C)
        terminal.wait_for("(stopped)", seconds=20)
        terminal.wait_for(">")
        terminal.press(CTRL_D)
        assert terminal.end() == 0
    finally:
        terminal.close()
