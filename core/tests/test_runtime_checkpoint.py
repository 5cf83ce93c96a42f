"""Checkpoints count only when they are complete, verify before they are used, and say what changed."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from tunesmith.errors import TunesmithError
from tunesmith.runtime import checkpoint as checkpoints


def write(folder: Path, step: int, content: str = "weights", **fingerprints: str) -> Path:
    """A published checkpoint with two files."""
    target = folder / f"checkpoint-{step}"
    staging = checkpoints.stage(target)
    (staging / "model.safetensors").write_text(content)
    (staging / "inner").mkdir()
    (staging / "inner" / "state.json").write_text("{}")
    checkpoints.publish(staging, target, step, fingerprints, {"torch": "1"})
    return target


def test_a_published_checkpoint_verifies_and_leaves_no_staging(tmp_path: Path) -> None:
    target = write(tmp_path, 3)
    assert checkpoints.trouble_with(target) == ""
    assert checkpoints.read_manifest(target).step == 3
    assert set(checkpoints.read_manifest(target).files) == {"model.safetensors", "inner/state.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


@pytest.mark.parametrize(
    ("harm", "trouble"),
    [
        (lambda folder: (folder / "model.safetensors").write_text("wEights"), "the content of model.safetensors has changed"),
        (lambda folder: (folder / "model.safetensors").write_text("w"), "model.safetensors has 1 bytes instead of 7"),
        (lambda folder: (folder / "inner" / "state.json").unlink(), "inner/state.json is not there"),
        (lambda folder: (folder / "manifest.json").unlink(), "it has no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "Expecting property name"),
        (lambda folder: (folder / "manifest.json").write_text('{"schema": 9}'), "its manifest.json is not of schema 1"),
    ],
)
def test_harm_is_found_and_named(tmp_path: Path, harm: object, trouble: str) -> None:
    target = write(tmp_path, 3)
    harm(target)  # type: ignore[operator]
    assert trouble in checkpoints.trouble_with(target)


def test_resume_takes_the_newest_that_verifies_and_says_why_not_a_newer_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (3, 20, 100):
        write(tmp_path, step)
    (tmp_path / "checkpoint-100" / "model.safetensors").write_text("damaged")
    with caplog.at_level(logging.WARNING):
        found = checkpoints.find_checkpoint(tmp_path, True, trust=False)
    assert found.step == 20
    assert f"{tmp_path}/checkpoint-100 is not used: the content of model.safetensors has changed." in caplog.text


def test_resume_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="holds no checkpoint that verifies") as caught:
        checkpoints.find_checkpoint(tmp_path, True, trust=False)
    assert "Leave resume_from_checkpoint out" in caught.value.hint


def test_a_named_checkpoint_must_be_of_this_run_or_trusted(tmp_path: Path) -> None:
    other = write(tmp_path / "other", 5)
    own = tmp_path / "own"
    with pytest.raises(TunesmithError, match="it does not belong to") as caught:
        checkpoints.find_checkpoint(own, str(other), trust=False)
    assert "trust_checkpoint: true" in caught.value.hint
    assert checkpoints.find_checkpoint(own, str(other), trust=True).step == 5


def test_a_damaged_checkpoint_is_refused_even_when_trusted(tmp_path: Path) -> None:
    target = write(tmp_path, 5)
    (target / "model.safetensors").write_text("damaged")
    with pytest.raises(TunesmithError, match="has changed"):
        checkpoints.find_checkpoint(tmp_path, str(target), trust=True)


def test_a_checkpoint_of_another_program_needs_trust(tmp_path: Path) -> None:
    foreign = tmp_path / "checkpoint-7"
    foreign.mkdir()
    (foreign / "trainer_state.json").write_text(json.dumps({"global_step": 7}))
    with pytest.raises(TunesmithError, match=r"it has no manifest\.json"):
        checkpoints.find_checkpoint(tmp_path, str(foreign), trust=False)
    found = checkpoints.find_checkpoint(tmp_path, str(foreign), trust=True)
    assert found.manifest is None
    assert found.step == 7


def test_a_folder_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    write(tmp_path, 4)
    with pytest.raises(TunesmithError, match="there is no folder") as caught:
        checkpoints.find_checkpoint(tmp_path, str(tmp_path / "checkpoint-5"), trust=False)
    assert "checkpoint-4" in caught.value.hint


def test_the_oldest_go_first_and_the_best_stays(tmp_path: Path) -> None:
    best = write(tmp_path, 1)
    for step in (2, 3, 10):
        write(tmp_path, step)
    (tmp_path / "checkpoint-notes").mkdir()
    checkpoints.rotate(tmp_path, 2, [best])
    assert [path.name for path in checkpoints.checkpoints_in(tmp_path)] == ["checkpoint-1", "checkpoint-10"]
    checkpoints.rotate(tmp_path, None)
    checkpoints.rotate(tmp_path, 1, [best])
    assert [path.name for path in checkpoints.checkpoints_in(tmp_path)] == ["checkpoint-1", "checkpoint-10"]
    assert (tmp_path / "checkpoint-notes").is_dir()


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, 3, "old")
    target = write(tmp_path, 3, "new")
    assert (target / "model.safetensors").read_text() == "new"
    assert checkpoints.trouble_with(target) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


def test_a_crash_between_old_and_new_loses_neither(tmp_path: Path) -> None:
    target = write(tmp_path, 3, "old")
    target.rename(tmp_path / ".staging-checkpoint-3.replaced")  # what _swap has done when it is killed
    (tmp_path / ".staging-checkpoint-3").mkdir()
    checkpoints.clean_up(tmp_path)
    assert checkpoints.find_checkpoint(tmp_path, True, trust=False).step == 3
    assert (target / "model.safetensors").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]
