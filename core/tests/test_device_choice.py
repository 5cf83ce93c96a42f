"""That transformers and accelerate compute where the backend says, on devices that they do not know (meta stands for one)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import TrainingArguments
from tunesmith.errors import TunesmithError
from tunesmith.runtime import device_choice
from tunesmith.runtime.device_choice import Home, make_arguments
from tunesmith.testing.backend_suite import forgotten_device

UNKNOWN = Home(torch.device("meta", 0), "gloo")


def test_a_device_that_they_do_not_know(tmp_path: Path) -> None:
    with forgotten_device():
        arguments = make_arguments(TrainingArguments, {"output_dir": str(tmp_path), "bf16": True}, UNKNOWN)
        assert arguments.device == Accelerator().device == UNKNOWN.device
        assert not arguments.use_cpu
        assert arguments.n_gpu == 1
    assert "ACCELERATE_TORCH_DEVICE" not in os.environ


def test_a_device_that_they_would_choose_is_left_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_choice, "_placed", None)
    with forgotten_device():
        home = Home(torch.device("cpu"), "gloo")
        assert make_arguments(TrainingArguments, {"output_dir": str(tmp_path), "use_cpu": True}, home).device == home.device


def test_another_device_than_the_wanted_one_is_an_error(tmp_path: Path) -> None:
    with forgotten_device(), pytest.raises(TunesmithError, match="computes on meta:0, and transformers has chosen cpu"):
        make_arguments(TrainingArguments, {"output_dir": str(tmp_path), "use_cpu": True}, UNKNOWN)
