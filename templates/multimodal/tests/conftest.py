"""Small models that see, and pictures of one colour with a question that only the picture answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tunesmith import api
from tunesmith.runtime.tiny import make_tiny
from tunesmith.testing.small_pictures import ASKED, picture, row, write_rows


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models ``qwen2-vl`` and ``llava``, and the datasets ``train`` and ``held``."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "pictures").mkdir()
    for family in ("qwen2-vl", "llava"):
        make_tiny(family, folder / family)
    for name, count in (("train", 120), ("held", 40)):
        files = [f"{name}{number}.png" for number in range(count)]
        write_rows(folder, name, [row(ASKED, picture(folder / "pictures", file, file), file) for file in files])
    return folder


@pytest.fixture
def config(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """A quick run on the small Qwen2-VL with the given flat keys."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def make(**keys: Any) -> dict[str, Any]:
        return {
            "model_name_or_path": str(place / "qwen2-vl"),
            "template": "qwen2_vl",
            "dataset": "train",
            "dataset_dir": str(place),
            "media_dir": str(place / "pictures"),
            "data_cache_dir": str(tmp_path / "cache"),
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 8,
            "learning_rate": 3e-3,
            "logging_steps": 1,
            "cutoff_len": 512,
            "seed": 1,
            "disable_gradient_checkpointing": True,
            "disable_tqdm": True,
            **keys,
        }

    return make


@pytest.fixture(scope="session")
def trained(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model after it has learned colours, with its tower learning along."""
    out = tmp_path_factory.mktemp("trained")
    keys = {
        "model_name_or_path": str(place / "qwen2-vl"),
        "template": "qwen2_vl",
        "finetuning_type": "full",
        "dataset": "train",
        "eval_dataset": "held",
        "do_train": True,
        "do_eval": True,
        "do_predict": True,
        "predict_with_generate": True,
        "do_sample": False,
        "max_new_tokens": 6,
        "dataset_dir": str(place),
        "media_dir": str(place / "pictures"),
        "data_cache_dir": str(out / "cache"),
        "output_dir": str(out),
        "freeze_vision_tower": False,
        "freeze_multi_modal_projector": False,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 5,
        "save_steps": 60,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "cosine",
        "logging_steps": 1,
        "cutoff_len": 512,
        "disable_gradient_checkpointing": True,
        "disable_tqdm": True,
    }
    api.train(keys)
    return out
