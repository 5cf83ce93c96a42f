"""Nothing is asked of the network, and two models that think differently."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith.testing.small_run import small_model
from tunesmith.testing.tiny_models import tiny_llama


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model``, and ``other`` with other weights."""
    folder = tmp_path_factory.mktemp("models")
    small_model(folder / "model")
    small_model(folder / "other")
    ids = {"bos_token_id": 400, "eos_token_id": 403, "pad_token_id": 401}
    tiny_llama(seed=1, vocab_size=512, **ids).save_pretrained(folder / "other")
    return folder
