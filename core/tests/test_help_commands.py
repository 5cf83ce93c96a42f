"""plugins, env and doctor: what they say about good and bad installations."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tunesmith import installation
from tunesmith.cli.doctor import doctor
from tunesmith.cli.env import env, variables
from tunesmith.cli.plugins import plugins as plugins_command
from tunesmith.installation import how_to_install
from tunesmith.plugins import Plugins

HEAD = "from tunesmith import *\nfrom tunesmith.contracts import Probe\nTUNESMITH_API = (1, 0)\n"
TUNER = HEAD + '@hookimpl\ndef tunesmith_tuners():\n    return [TunerSpec("shrink", "a:B", "Shrinks.")]\n'
NEEDY = TUNER.replace('"Shrinks."', '"Shrinks.", needs=("no_such_package",)')
BROKEN = HEAD + "import no_such_module\n"
BROKEN_WHEN_ASKED = HEAD + "@hookimpl\ndef tunesmith_tuners():\n    raise RuntimeError('first line\\nsecond line')\n"
BACKEND = (
    HEAD
    + '@hookimpl\ndef tunesmith_backends():\n    return [BackendSpec("toaster", "a:B", "Toasts.", probe=__name__ + ":probe")]\n'
)
HERE = BACKEND + 'def probe():\n    return Probe(True, devices=2, detail={"slots": 4})\n'
AWAY = BACKEND + 'def probe():\n    return Probe(False, "it is not plugged in")\n'
EXPLODES = BACKEND + 'def probe():\n    raise OSError("the fuse")\n'
KEYED = TUNER.replace('"Shrinks."', '"Shrinks.", options=Options').replace(
    "TUNESMITH_API",
    "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Options:\n    shrink_by: int = 2\nTUNESMITH_API",
)

Install = Callable[..., Plugins]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Plugins made of real modules: ``install(name=source, …)``."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(without: tuple[str, ...] = (), **sources: str) -> Plugins:
        found = []
        for name, source in sources.items():
            module = f"help_command_{name}"
            (tmp_path / f"{module}.py").write_text(source)
            sys.modules.pop(module, None)
            found.append(EntryPoint(name, module, "tunesmith"))
        return Plugins(found=found, without=without)

    return make


def call(command: object, plugins: Plugins, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, obj=plugins, standalone_mode=False)  # type: ignore[arg-type]


def findings(plugins: Plugins, *arguments: str) -> dict[str, str]:
    """What doctor found: text → level."""
    rows = json.loads(call(doctor, plugins, "--json", *arguments).output)
    return {row["what"]: row["level"] for row in rows}


# -- plugins -------------------------------------------------------------------------------------------------------------


def test_plugins_lists_what_each_offers_by_axis(install: Install) -> None:
    said = call(plugins_command, install(a=TUNER)).output.splitlines()
    at = said.index("a  ? ?")
    assert said[at + 1].split() == ["tuners", "shrink"]


def test_a_broken_plugin_takes_one_line_even_when_it_breaks_late(install: Install) -> None:
    said = call(plugins_command, install(a=BROKEN, b=BROKEN_WHEN_ASKED)).output.splitlines()
    assert "a  broken  ? ?: ModuleNotFoundError: No module named 'no_such_module'" in said
    assert "b  broken  ? ?: RuntimeError: first line" in said
    assert "second line" not in "\n".join(said)


def test_switched_off_plugins_and_clashes_are_shown(install: Install) -> None:
    said = call(plugins_command, install(a=TUNER, b=TUNER, c=TUNER, without=("c",))).output
    assert "c  switched off  ? ?" in said
    assert "tuners: shrink is offered by a and b; pick one as shrink@a" in said


def test_plugins_as_json_is_complete(install: Install) -> None:
    report = json.loads(call(plugins_command, install(a=TUNER, b=BROKEN), "--json").output)
    assert {"name": "a", "distribution": "?", "version": "?", "offers": {"tuners": ["shrink"]}} in report["plugins"]
    assert [broken["name"] for broken in report["broken"]] == ["b"]


def test_a_local_plugin_is_shown_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "tunesmith_local.py").write_text(TUNER)
    assert f"local  {tmp_path / 'tunesmith_local.py'}" in call(plugins_command, Plugins(found=[], local=tmp_path)).output


# -- env -----------------------------------------------------------------------------------------------------------------


def test_env_names_versions_machine_plugins_and_backends(install: Install) -> None:
    report = json.loads(call(env, install(a=HERE), "--json").output)
    assert report["packages"]["tunesmith-core"] == installation.version_of("tunesmith-core")
    assert report["libraries"]["transformers"] == installation.version_of("transformers")
    assert report["machine"]["cores"] >= 1
    assert report["backends"]["toaster"] == {"here": True, "reason": "", "devices": 2, "memory": 0, "detail": {"slots": "4"}}
    assert "here, devices 2, slots 4" in call(env, install(a=HERE)).output


def test_env_reports_a_probe_that_fails(install: Install) -> None:
    assert "not here: its probe failed: OSError: the fuse" in call(env, install(a=EXPLODES)).output


def test_env_masks_secrets_and_leaves_out_what_does_not_matter() -> None:
    environ = {"HF_TOKEN": "abc", "HF_HUB_OFFLINE": "1", "HOME": "x", "TOASTER_VISIBLE": "0"}
    assert variables(environ, {"TOASTER_VISIBLE"}) == {"HF_TOKEN": "***", "HF_HUB_OFFLINE": "1", "TOASTER_VISIBLE": "0"}


# -- doctor --------------------------------------------------------------------------------------------------------------


def test_doctor_is_content_with_a_good_installation(install: Install, tmp_path: Path) -> None:
    result = call(doctor, install(a=HERE), "--output", str(tmp_path / "new" / "saves"))
    assert result.return_value == 0, result.output
    assert "backend toaster is here" in result.output


def test_doctor_shows_the_whole_reason_of_a_broken_plugin_and_fails(install: Install) -> None:
    result = call(doctor, install(a=HERE, b=BROKEN_WHEN_ASKED))
    assert result.return_value == 1
    assert "second line" in result.output
    assert "--without b" in result.output


def test_doctor_fails_without_any_backend(install: Install) -> None:
    found = findings(install(a=AWAY))
    assert found["backend toaster is not here: it is not plugged in"] == "ok"
    assert found["no backend is here, so nothing can run"] == "fail"


def test_doctor_fails_for_a_backend_that_was_asked_for(install: Install) -> None:
    assert findings(install(a=AWAY), "--backend", "toaster")["backend toaster is not here: it is not plugged in"] == "fail"
    assert findings(install(a=HERE), "--backend", "kettle")["there is no backend 'kettle'"] == "fail"
    assert findings(install(a=EXPLODES))["the probe of backend toaster failed: OSError: the fuse"] == "fail"


def test_doctor_warns_of_clashes_and_missing_packages(install: Install) -> None:
    found = findings(install(a=KEYED, b=KEYED, c=NEEDY, d=HERE))
    assert found["a and b and c both offer the tuner 'shrink'"] == "warn"
    assert found["shrink_by is declared by a and b"] == "warn"
    assert found["the tuner 'shrink' needs no_such_package"] == "warn"


def test_packages_are_named_as_an_index_knows_them() -> None:
    said = how_to_install(["sklearn", "flash_attn"], "tunesmith-x")
    assert said == "pip install scikit-learn flash-attn; the README of tunesmith-x says more."


@pytest.mark.parametrize("name", ["data", "stack", "template"])
def test_the_list_of_a_groups_commands_cuts_no_sentence(name: str) -> None:
    shown = CliRunner().invoke(Plugins().commands.get(name).load(), ["--help"]).output
    assert "Commands:" in shown
    assert "..." not in shown.partition("Commands:")[2]


def test_doctor_fails_where_the_output_folder_is_a_file(install: Install, tmp_path: Path) -> None:
    file = tmp_path / "saves"
    file.write_text("")
    assert findings(install(a=HERE), "--output", str(file / "run"))[f"{file} cannot be written to"] == "fail"


def test_doctor_warns_of_a_version_that_was_not_tested(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.cli.doctor.tested_versions", lambda: {"numpy": "0.1"})
    version = installation.version_of("numpy")
    assert findings(install(a=HERE))[f"numpy {version} is not the version that was tested with this release, 0.1"] == "warn"


# -- requirements --------------------------------------------------------------------------------------------------------


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs the metadata of a distribution that requires what is given."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, *requirements: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {r}" for r in requirements)]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    return make


def test_unmet_requirements_are_found_through_extras(distribution: Callable[..., None]) -> None:
    distribution("tunesmith-one", "tunesmith-two[more]>=1", "click>=1", "click>=999")
    distribution("tunesmith-two", "no-such-thing>=3; extra == 'more'", "no-such-other; extra == 'unasked'")
    unmet = {str(one) for one in installation.unmet_requirements(["tunesmith-one"])}
    click = installation.version_of("click")
    assert unmet == {
        f"tunesmith-one needs click>=999, and {click} is installed",
        "tunesmith-two needs no-such-thing>=3, and it is not installed",
    }
