"""What the preflight reads and says, on machines made of files."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tunesmith_npu import guard, preflight
from tunesmith_npu.installed import Installed, look
from tunesmith_npu.matching import fits, recommended, table
from tunesmith_npu.preflight import findings, probe

WELL = Installed(
    devices=8,
    driver="25.5.0",
    cann="8.5.0",
    toolkit="/ascend/cann",
    set_up=True,
    torch="2.9.0+cpu",
    torch_npu="2.9.0",
)


def wrong(found: Installed) -> list[str]:
    """Each line that is not ok, with what mends it."""
    return [f"{line.level}: {line.what} -> {line.fix}" for line in findings(found) if line.level != "ok"]


def test_a_machine_on_which_all_fits() -> None:
    assert wrong(WELL) == []
    said = [line.what for line in findings(WELL)]
    assert said == [
        "8 Ascend devices, 8 of them visible",
        "driver 25.5.0",
        "CANN 8.5.0 in /ascend/cann",
        "torch 2.9.0+cpu with torch-npu 2.9.0",
        "torch-npu 2.9.0 is the one for CANN 8.5.0",
    ]


@pytest.mark.parametrize(
    ("change", "said", "mends"),
    [
        ({"system": "darwin"}, "for Linux, and this is darwin", "another backend"),
        ({"devices": 0}, "there is no Ascend device (/dev/davinci0)", "--device /dev/davinci0"),
        ({"visible": "9"}, "ASCEND_RT_VISIBLE_DEVICES is '9', which hides every device", "ASCEND_RT_VISIBLE_DEVICES=0"),
        ({"visible": ""}, "hides every device", "Unset it"),
        ({"driver": ""}, "the driver's version.info is not here", "mount /usr/local/Ascend/driver"),
        ({"driver": "24.1.0"}, "driver 24.1.0 is older than 25.5", "Ascend HDK 25.5"),
        ({"toolkit": "", "cann": "", "set_up": False}, "CANN is not installed", "Install the toolkit"),
        ({"set_up": False}, "this shell does not know it", "source /ascend/cann/set_env.sh"),
        ({"cann": ""}, "does not say which CANN it is", "by hand"),
        ({"torch_npu": ""}, "torch-npu is not installed", "pip install torch==2.9.0 torch-npu==2.9.0"),
        ({"torch_npu": "", "machine": "x86_64"}, "torch-npu is not installed", "pip install torch==2.9.0+cpu torch-npu==2.9.0"),
        ({"torch": "2.13.0"}, "torch-npu 2.9.0 is for another torch than 2.13.0", "pip install torch==2.9.0"),
        ({"torch": ""}, "for another torch than none", "pip install torch==2.9.0"),
        ({"cann": "9.0.0"}, "is for CANN 8.5.0, and here is CANN 9.0.0", "pip install torch==2.9.0 torch-npu==2.9.0.post2"),
        ({"cann": "7.0.0"}, "is for CANN 8.5.0, and here is CANN 7.0.0", "Install CANN 8.5.0"),
        ({"torch": "2.13.0", "torch_npu": "2.13.0"}, "no table says which CANN torch-npu 2.13.0 is for", "gitcode.com"),
    ],
)
def test_each_mismatch_is_one_line_with_what_mends_it(change: dict[str, object], said: str, mends: str) -> None:
    lines = wrong(replace(WELL, **change))
    assert len(lines) == 1, lines
    assert said in lines[0].partition(" -> ")[0]
    assert mends in lines[0].partition(" -> ")[2]


def test_the_table_is_whole() -> None:
    assert len({(row.cann, row.torch) for row in table()}) == len(table())
    assert all(fits(row.torch, row.torch_npu) for row in table())
    assert recommended(Installed()) == table()[0]


def test_what_is_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("davinci0", "davinci1", "davinci_manager"):
        (tmp_path / "dev" / name).touch()
    driver = tmp_path / "usr/local/Ascend/driver"
    driver.mkdir(parents=True)
    (driver / "version.info").write_text("Version=25.5.0\nascendhal_version=7.35.23\n")
    toolkit = tmp_path / "usr/local/Ascend/ascend-toolkit/latest/aarch64-linux"
    toolkit.mkdir(parents=True)
    (toolkit / "ascend_toolkit_install.info").write_text("package_name=Ascend-cann-toolkit\nversion=8.5.0\narch=aarch64\n")
    found = look({}, tmp_path)
    assert (found.devices, found.driver, found.cann, found.set_up) == (2, "25.5.0", "8.5.0", False)
    assert found.toolkit == str(toolkit.parent)
    named = look({"ASCEND_HOME_PATH": str(toolkit.parent), "ASCEND_RT_VISIBLE_DEVICES": "1"}, tmp_path)
    assert (named.set_up, named.visible) == (True, "1")
    assert look({}, tmp_path / "none") == replace(look({}, tmp_path / "none"), devices=0, driver="", cann="", toolkit="")


def test_the_probe_says_the_first_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "look", lambda: replace(WELL, set_up=False))
    found = probe()
    assert not found.here
    assert "source /ascend/cann/set_env.sh" in found.reason
    monkeypatch.setattr(preflight, "look", lambda: replace(WELL, visible="0,3"))
    assert (probe().here, probe().devices) == (True, 2)


def test_the_guard_leaves_a_machine_without_torch_npu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(guard.SWITCH, raising=False)
    monkeypatch.delitem(sys.modules, "torch_npu", raising=False)
    monkeypatch.setattr(guard, "find_spec", lambda name: None)
    guard.keep_import_of_torch_working()
    assert "torch_npu" not in sys.modules


@pytest.mark.parametrize("here", [True, False])
def test_the_guard_keeps_torch_from_importing_what_cannot_run(monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    monkeypatch.setenv(guard.SWITCH, "")
    monkeypatch.delenv(guard.SWITCH)
    monkeypatch.delitem(sys.modules, "torch_npu", raising=False)
    monkeypatch.setattr(guard, "find_spec", lambda name: object())
    monkeypatch.setattr(preflight, "look", lambda: replace(WELL, set_up=here))
    guard.keep_import_of_torch_working()
    assert guard.os.environ[guard.SWITCH] == "0"
    assert ("torch_npu" in sys.modules) is not here
    sys.modules.pop("torch_npu", None)
