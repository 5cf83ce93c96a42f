"""Preferences about pictures: which answer is better depends on what is seen, and nothing else tells."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText
from tunesmith import api
from tunesmith.data.flow import prepare
from tunesmith.data.preparation import make_tools
from tunesmith.data.store import TokenStore
from tunesmith.errors import ConfigError
from tunesmith.plugins import Plugins
from tunesmith.runtime.collate import SEEN
from tunesmith.runtime.pairs import PairCollator
from tunesmith.testing.small_pictures import COLOURS
from tunesmith_preference.answers import read_answers
from tunesmith_preference.feedback import FeedbackCollator, FeedbackRows

Config = Callable[..., dict[str, Any]]
RM = {"stage": "rm", "per_device_train_batch_size": 4, "num_train_epochs": 4, "lr_scheduler_type": "cosine"}


@pytest.fixture(scope="module")
def judged(place: Path) -> Path:
    """Datasets ``pairs`` and ``liked`` about the pictures of ``train`` and of ``held``; ``plain`` has none."""
    info = json.loads((place / "dataset_info.json").read_text())
    for name in ("train", "held"):
        pairs, liked = [], []
        for number, row in enumerate(json.loads((place / f"{name}.json").read_text())):
            asked, answered = row["messages"]
            chance = random.Random(f"{name}{number}")
            wrong = {"role": "assistant", "content": chance.choice([c for c in COLOURS if c != answered["content"]])}
            both = {"messages": [asked], "chosen": answered, "rejected": wrong}
            pairs.append({**both, "images": row["images"]})
            good = number % 2 == 0
            liked.append({"messages": [asked, answered if good else wrong], "liked": good, "images": row["images"]})
        columns = {"messages": "messages", "images": "images"}
        answers = {"chosen": "chosen", "rejected": "rejected"}
        for kind, rows in (("pairs", pairs), ("liked", liked)):
            (place / f"{name}_{kind}.json").write_text(json.dumps(rows))
        told = {"formatting": "openai", "columns": {**columns, **answers}, "ranking": True}
        info[f"{name}_pairs"] = {"file_name": f"{name}_pairs.json", **told}
        kto = {"formatting": "openai", "columns": {**columns, "kto_tag": "liked"}}
        info[f"{name}_liked"] = {"file_name": f"{name}_liked.json", **kto}
    text = [{"messages": [{"role": "user", "content": "Which?"}], "chosen": red(), "rejected": blue()}]
    (place / "plain.json").write_text(json.dumps(text))
    info["plain"] = {"file_name": "plain.json", "formatting": "openai", "columns": {"messages": "messages"}, "ranking": True}
    (place / "dataset_info.json").write_text(json.dumps(info))
    return place


def red() -> dict[str, str]:
    return {"role": "assistant", "content": "red"}


def blue() -> dict[str, str]:
    return {"role": "assistant", "content": "blue"}


@pytest.fixture
def learning(judged: Path, trained: Path, config: Config) -> Config:
    """A run from the model that knows colours, all of whose parts learn."""

    def make(kind: str, **keys: Any) -> dict[str, Any]:
        seeing = {"freeze_vision_tower": False, "freeze_multi_modal_projector": False}
        data = {"dataset": f"train_{kind}", "eval_dataset": f"held_{kind}", "do_train": True, "do_eval": True}
        how = {"finetuning_type": "full", "learning_rate": 3e-4, "num_train_epochs": 1, "logging_steps": 5}
        return config(**{"model_name_or_path": str(trained), **data, **seeing, **how, **keys})

    return make


def results(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "all_results.json").read_text())
    return found


def test_dpo_prefers_by_what_it_sees(learning: Config, tmp_path: Path) -> None:
    api.train(learning("pairs", stage="dpo", pref_beta=0.3, precompute_ref_log_probs=True))
    found = results(tmp_path / "out")
    assert found["eval_rewards/accuracies"] > 0.8
    assert found["eval_rewards/margins"] > 0.1


def test_kto_prefers_by_what_it_sees(learning: Config, tmp_path: Path) -> None:
    api.train(learning("liked", stage="kto", pref_beta=0.3))
    assert results(tmp_path / "out")["eval_rewards/margins"] > 0.05


def test_rm_scores_by_what_it_sees(learning: Config, tmp_path: Path) -> None:
    api.train(learning("pairs", **RM))
    assert results(tmp_path / "out")["eval_accuracy"] > 0.8


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_the_margin_of_a_row_depends_on_its_picture_and_on_no_other_row(judged: Path, trained: Path, config: Config) -> None:
    keys = config(model_name_or_path=str(trained), stage="dpo", dataset="held_pairs,plain", disable_shuffling=True)
    plan = api.plan(keys)
    found = prepare(plan, Plugins()).train
    _, renderer = make_tools(plan, Plugins())
    assert found is not None
    assert renderer is not None
    store = TokenStore.open(found)
    rows = [store[number] for number in range(len(store))]
    assert all(row["chosen"].media == row["rejected"].media for row in rows)
    seeing, blind = [row for row in rows if row["chosen"].media][:3], [row for row in rows if not row["chosen"].media]
    model = AutoModelForImageTextToText.from_pretrained(trained, dtype=torch.float32).eval()
    pad = model.generation_config.pad_token_id

    def logps(rows: list[Any], **how: Any) -> torch.Tensor:
        with torch.no_grad():
            return read_answers(model, PairCollator(pad, media=renderer.media, **how)(rows)).logps.reshape(2, -1)

    together = logps([*seeing, *blind])
    torch.testing.assert_close(logps([*seeing, *blind], side="left"), together, rtol=1e-4, atol=1e-4)
    for at, row in enumerate([*seeing, *blind]):
        torch.testing.assert_close(logps([row])[:, 0], together[:, at], rtol=1e-4, atol=1e-4)
    right = [row for row in seeing if (pair := logps([row])[:, 0])[0] > pair[1]]
    assert len(right) >= 2


def test_the_other_answer_of_kto_is_about_the_rows_own_picture(judged: Path, config: Config) -> None:
    plan = api.plan(config(stage="kto", dataset="held_liked", disable_shuffling=True))
    found = prepare(plan, Plugins()).train
    _, renderer = make_tools(plan, Plugins())
    assert found is not None
    assert renderer is not None
    rows = FeedbackRows(TokenStore.open(found), 512)
    row = rows[0]
    assert row["other"].media == row["tokens"].media != rows[1]["tokens"].media
    batch = FeedbackCollator(0, media=renderer.media)([rows[0], rows[1]])
    assert torch.equal(batch[SEEN]["pixel_values"], batch[f"other_{SEEN}"]["pixel_values"])


def test_pairs_whose_prompt_is_too_long_are_dropped_whole(judged: Path, config: Config) -> None:
    kept = {}
    for limit in (16, 400):
        report = prepare(api.plan(config(stage="dpo", dataset="held_pairs", cutoff_len=limit)), Plugins(), lenient=True).report
        kept[limit] = report.sources[0].kept
    assert kept == {16: 0, 400: 40}


@pytest.mark.parametrize("stage", ["grpo", "ppo"])
def test_stages_that_answer_refuse_pictures_by_name(stage: str, judged: Path, config: Config) -> None:
    with pytest.raises(ConfigError, match=f"train has images, and the stage {stage} cannot learn from them yet"):
        api.plan(config(stage=stage, dataset="train", reward_funcs="exact_match" if stage == "grpo" else None))
