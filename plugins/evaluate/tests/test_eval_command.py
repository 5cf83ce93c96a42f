"""The command asks a real model, and picks the letter that the model itself finds most likely."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tunesmith.cli.main import main
from tunesmith.runtime.tiny import make_tiny
from tunesmith_evaluate import command
from tunesmith_evaluate.asking import ask
from tunesmith_evaluate.benchmark import read_benchmark
from tunesmith_evaluate.options import Task

SUBJECTS = ("law", "music")
COLUMNS = ("question", "A", "B", "C", "D", "answer")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a benchmark of two subjects with five questions each."""
    home = tmp_path_factory.mktemp("home")
    make_tiny("qwen3", home / "model")
    for subject in SUBJECTS:
        rows = [(f"Question {n} on {subject}?", f"{n}", f"not {n}", "perhaps", "no", "ABCD"[n % 4]) for n in range(5)]
        for split in ("test", "dev"):
            (home / "evaluation" / "bench" / split).mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows)
            (home / "evaluation" / "bench" / split / f"{subject}.jsonl").write_text(lines)
    mapping = {"law": {"name": "law", "category": "humanities"}, "music": {"name": "music", "category": "arts"}}
    (home / "evaluation" / "bench" / "mapping.json").write_text(json.dumps(mapping))
    return home


def words(home: Path, **keys: object) -> list[str]:
    known = {"model_name_or_path": home / "model", "template": "qwen3", "task_dir": home / "evaluation", "n_shot": 2, **keys}
    return ["eval", *(f"{key}={value}" for key, value in known.items())]


def by_hand(home: Path, n_shot: int) -> dict[str, str]:
    """Question → the letter whose token has the highest score, by transformers alone."""
    from transformers import AutoModelForCausalLM
    from tunesmith import api
    from tunesmith.data.preparation import make_tools
    from tunesmith.plugins import Plugins

    model = AutoModelForCausalLM.from_pretrained(home / "model", dtype=torch.float32).eval()
    plan = api.plan({"model_name_or_path": str(home / "model"), "template": "qwen3"}, command="chat")
    encoder, renderer = make_tools(plan, Plugins())
    assert renderer is not None
    found: dict[str, str] = {}
    for subject in read_benchmark(Task("bench", "test"), str(home / "evaluation"), n_shot):
        for question in subject.questions:
            asked = ask(subject, question, "en", renderer, encoder)
            with torch.no_grad():
                scores = model(torch.tensor([asked.ids])).logits[0, -1]
            found[question.text] = asked.letters[max(asked.letters, key=lambda token: float(scores[token]))]
    return found


def test_answers_are_the_most_likely_letters(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counted by subject, category and all, written down with every answer, in batches that do not divide the questions."""
    assert main([*words(home, task="bench_test", batch_size=3, save_dir=tmp_path / "out"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert {line["question"]: line["answer"] for line in lines} == by_hand(home, 2)
    hits = [line["answer"] == line["right"] for line in lines]
    assert scores["average"] == sum(hits) / 10
    assert scores["subject: law"] == scores["category: humanities"] == sum(hits[:5]) / 5
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["scores"] == scores
    assert written["n_shot"] == 2


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"task": "bench"}, "Write the name of a folder in task_dir, and test, validation or train"),
        ({"task": "bnech_test"}, "Did you mean"),
        ({"task": "bench_test", "n_shot": 9}, "Write n_shot: 5."),
        ({"task": "bench_test", "save_dir": "{home}"}, "holds something already"),
        ({"task": "bench_test", "download_mode": "force_redownload"}, "nothing is downloaded"),
    ],
)
def test_a_mistake_is_known_before_the_model_is_loaded(
    keys: Mapping[str, object], said: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_run(*_: object) -> None:
        raise AssertionError("an engine was to be started")

    monkeypatch.setattr(command, "run", no_run)
    assert main(words(home, **{key: str(value).format(home=home) for key, value in keys.items()})) == 2
    assert said in capsys.readouterr().err
