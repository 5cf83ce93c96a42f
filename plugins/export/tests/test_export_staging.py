"""An export's folder is there in full or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tunesmith import TunesmithError
from tunesmith_export.checks import folder_trouble
from tunesmith_export.staging import staged


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_the_folder_appears_when_all_is_written(there: bool, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    if there:
        target.mkdir(parents=True)
    with staged(target) as folder:
        (folder / "weights").write_text("all of them")
        assert not (target / "weights").exists()
    assert everything(tmp_path) == ["deep", "deep/out", "deep/out/weights"]


@pytest.mark.parametrize("error", [ValueError("ours"), TunesmithError("theirs"), KeyboardInterrupt()], ids=str)
def test_whatever_goes_wrong_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    def fail() -> None:
        with staged(tmp_path / "deep" / "out") as folder:
            (folder / "weights").write_text("half of them")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert everything(tmp_path) == []


def test_a_full_disk_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="No space left") as caught, staged(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "Nothing was left behind" in caught.value.hint
    assert everything(tmp_path) == []


def test_a_folder_that_fills_meanwhile_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def race() -> None:
        with staged(target):
            target.mkdir()
            (target / "precious").write_text("mine")

    with pytest.raises(TunesmithError, match="already holds something"):
        race()
    assert everything(tmp_path) == ["out", "out/precious"]


def test_folders_that_cannot_be_written_are_known_beforehand(tmp_path: Path) -> None:
    """A new or empty folder is fine; a full one, a file, and a place below a file are not."""
    (tmp_path / "file").write_text("")
    assert folder_trouble(tmp_path / "new" / "deeper") == ""
    assert "already holds something" in folder_trouble(tmp_path)
    assert "is a file" in folder_trouble(tmp_path / "file")
    assert "is a file" in folder_trouble(tmp_path / "file" / "below")
